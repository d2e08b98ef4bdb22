"""`FILE.pt2`: a program that `torch.export.save` wrote, with the example inputs that it was exported with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fwdtrace.errors import SpecError
from fwdtrace.spec import Inputs


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
    return program.module(), ("1x3x32x32",) if example is None else Inputs(tuple(example[0]), dict(example[1]))
