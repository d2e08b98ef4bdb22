"""Scripts and ranks in processes that are forked from one which has imported torch: that is most of what they cost.

For what a script prints by itself, beside which the same one under `fwdtrace exec` is set, and for ranks that call
fwdtrace themselves.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

from tests.helpers.commands import HANG

IMPORTED = ["numpy", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor.parallel"]


def printed_by(
    script: Sequence[str], folder: Path, settings: Sequence[Mapping[str, str]] = ({},), status: int = 0
) -> list[str]:
    """What a script prints to stdout, in one process for each of these environments; all have to end so."""
    files = [folder / f"printed{number}.txt" for number in range(len(settings))]
    processes = [
        _server().Process(target=_run, args=(script, folder, own, file))
        for own, file in zip(settings, files, strict=True)
    ]
    _all_end(processes, status)
    return [file.read_text(encoding="utf-8") for file in files]


def run_ranks(main: Callable[..., None], number: int, *arguments: object) -> None:
    """Call `main(rank, *arguments)` in a process for each of so many ranks; all have to succeed."""
    _all_end([_server().Process(target=main, args=(rank, *arguments)) for rank in range(number)])


def _all_end(processes: Sequence[BaseProcess], status: int = 0) -> None:
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(timeout=2 * HANG)
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [status] * len(processes)


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
