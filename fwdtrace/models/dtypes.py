"""The floating-point type that `--dtype` names, and a model and its arguments in that type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from fwdtrace.errors import FwdtraceError

DTYPES = ("bfloat16", "float16", "float32", "float64")


def dtype_named(name: str) -> torch.dtype:
    """The type of this name; FwdtraceError if a model cannot run in it."""
    if name not in DTYPES:
        raise FwdtraceError(f"--dtype {name}: there are {', '.join(DTYPES)}")
    return getattr(torch, name)  # type: ignore[no-any-return]


def convert(module: nn.Module, dtype: torch.dtype) -> None:
    """Give the floating-point parameters and buffers of a module another type; FwdtraceError if some are complex."""
    tensors: Iterator[Tensor] = (each for values in (module.parameters(), module.buffers()) for each in values)
    if any(tensor.is_complex() for tensor in tensors):
        name = str(dtype).removeprefix("torch.")
        raise FwdtraceError(f"--dtype {name}: the model has complex numbers, which {name} cannot hold")
    module.to(dtype=dtype)


def converted(values: Any, dtype: torch.dtype) -> Any:
    """Arguments of a call, of which the floating-point tensors have another type."""
    return _pytree.tree_map_only(Tensor, lambda each: each.to(dtype) if each.is_floating_point() else each, values)
