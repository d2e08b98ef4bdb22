"""Scripts in processes that are forked from one which has imported torch: the import is most of what a script costs.

For what a script prints by itself, beside which the same one under `fwdtrace exec` is set.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

IMPORTED = ["numpy", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor.parallel"]


def printed_by(script: Sequence[str], folder: Path, settings: Sequence[Mapping[str, str]] = ({},)) -> list[str]:
    """What a script prints to stdout, in one process for each of these environments; all have to succeed."""
    files = [folder / f"printed{number}.txt" for number in range(len(settings))]
    processes = [
        _server().Process(target=_run, args=(script, folder, own, file))
        for own, file in zip(settings, files, strict=True)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(timeout=200)
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return [file.read_text(encoding="utf-8") for file in files]


@functools.cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}):
        forkserver.ensure_running()
    return context


def _run(script: Sequence[str], folder: Path, settings: Mapping[str, str], file: Path) -> None:
    importlib.import_module("tests.torchvision_shim.sitecustomize")
    os.chdir(folder)
    os.environ.update(settings)
    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), 1)
    sys.argv = [*script]
    runpy.run_path(script[0], run_name="__main__")
