"""`FILE.pt2`: a program that `torch.export.save` wrote, with the example inputs that it was exported with."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models.sources.exported_code import code_in
from fwdtrace.models.spec import Inputs

_ONLY_WEIGHTS = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}
_SEE_LOG = "Please check the warnings above"
"""What torch says of a file that is no archive of its own; the warnings are about how it looked for one."""


def load(file: str, /, *, trust: bool = False) -> tuple[nn.Module, Inputs | tuple[str, ...]]:
    """Read an exported program; SpecError if the file is none, or if it would run code and there is no `trust`."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise SpecError(f"there is no file {file!r}; check the path")
    if not trust and (found := code_in(path)):
        raise SpecError(f"{file!r} {found}; if you trust whoever made it, add --trust")
    try:
        with _environment({} if trust else _ONLY_WEIGHTS), _unlogged():
            program: Any = torch.export.load(path)
    except Exception as error:  # torch raises a dozen kinds on a file that is not its own
        said = (str(error).splitlines() or [""])[0]
        reason = "" if _SEE_LOG in said else f" ({said})"
        raise SpecError(f"{file!r} is no exported program{reason}; torch.export.save writes one") from None
    if torch.get_default_device().type != "cpu":
        raise SpecError(f"{file!r} holds its weights and their device; leave --device off")
    example = program.example_inputs
    module: nn.Module = program.module()
    for part in module.modules():
        part.training = False
    # torch puts methods there that raise in either mode; in the mode of the export the program runs as it is.
    vars(module).update(train=partial(_stay_as_exported, module), eval=partial(_stay_as_exported, module, False))
    return module, ("1x3x32x32",) if example is None else Inputs(tuple(example[0]), dict(example[1]))


@contextmanager
def _environment(changes: dict[str, str | None]) -> Iterator[None]:
    """Set or unset environment variables for a time."""
    before = {name: os.environ.pop(name, None) for name in changes}
    os.environ.update({name: value for name, value in changes.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep torch from writing a traceback to the log for each form of archive that the file does not have."""
    log = logging.getLogger(torch.export.__name__)
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before


def _stay_as_exported(module: nn.Module, mode: bool = True) -> nn.Module:
    if mode:
        raise SpecError("an exported program runs in the mode that it was exported in; leave --train off")
    return module
