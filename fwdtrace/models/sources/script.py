"""`FILE.pt`: a TorchScript program. It runs in C++, so only the call of the whole program can be seen."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from fwdtrace.errors import SpecError


def load(file: str, /) -> tuple[nn.Module, tuple[str, ...]]:
    """Read a program that `torch.jit.save` wrote; SpecError if the file holds no such program."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise SpecError(f"there is no file {file!r}; check the path")
    device = torch.get_default_device()
    if device.type == "meta":
        raise SpecError(f"{file!r} holds its weights; leave --device meta off")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls TorchScript deprecated; the file is there nonetheless
            program: nn.Module = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    except RuntimeError:
        remedy = "weights alone go to --weights, with the spec of their model"
        raise SpecError(f"{file!r} is no TorchScript program; {remedy}") from None
    return program, ("1x3x32x32",)
