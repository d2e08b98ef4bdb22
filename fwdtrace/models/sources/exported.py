"""`FILE.pt2`: a program that `torch.export.save` wrote, with the example inputs that it was exported with."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.models.spec import Inputs


def load(file: str, /) -> tuple[nn.Module, Inputs | tuple[str, ...]]:
    """Read an exported program; SpecError if the file is none."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise SpecError(f"there is no file {file!r}; check the path")
    try:
        program: Any = torch.export.load(path)
    except Exception as error:  # torch raises a dozen kinds on a file that is not its own
        said = (str(error).splitlines() or [""])[0]
        raise SpecError(f"{file!r} is no exported program ({said}); torch.export.save writes one") from None
    if torch.get_default_device().type != "cpu":
        raise SpecError(f"{file!r} holds its weights and their device; leave --device off")
    example = program.example_inputs
    module: nn.Module = program.module()
    for part in module.modules():
        part.training = False
    # torch puts methods there that raise in either mode; in the mode of the export the program runs as it is.
    vars(module).update(train=partial(_stay_as_exported, module), eval=partial(_stay_as_exported, module, False))
    return module, ("1x3x32x32",) if example is None else Inputs(tuple(example[0]), dict(example[1]))


def _stay_as_exported(module: nn.Module, mode: bool = True) -> nn.Module:
    if mode:
        raise SpecError("an exported program runs in the mode that it was exported in; leave --train off")
    return module
