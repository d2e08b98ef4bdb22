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
        raise SpecError(f"{file!r} is no TorchScript program; {_what_else(path, file)}") from None
    return program, ("1x3x32x32",)


def _what_else(path: Path, file: str) -> str:
    """What a file is that holds no program, and the command for it. Nothing in it is run."""
    try:
        torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # torch raises a dozen kinds
        save = "save its weights, torch.save(model.state_dict(), 'weights.pt')"
        return f"if it is a pickled module, {save}, and write file.py:Name --weights weights.pt"
    return f"it holds weights: write file.py:Name --weights {file}"
