"""What a model takes and gives, taken apart into named leaves, copied, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.compare.numbers.tensors import same_tensor
from fwdtrace.recorder.parts import parts_of

DEEPEST = 8
_SCALARS = (bool, int, float, complex, str, bytes, torch.Size)


def named_leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every tensor, number and string in a nested value with its place in it, such as `.logits` or `[0][1]`."""
    if isinstance(value, (Tensor, *_SCALARS)) or value is None:
        yield name, value
        return
    if depth == DEEPEST or isinstance(value, (type, nn.Module)) or callable(value):
        return
    parts = parts_of(value)
    if parts is None:
        parts = [(f".{key}", part) for key, part in getattr(value, "__dict__", {}).items()]
    for suffix, part in parts:
        yield from named_leaves(part, name + suffix, depth + 1)


def same_leaf(one: Any, other: Any) -> bool:
    """Whether two leaves are the same: tensors in dtype, shape and every bit, all else by type and value."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return same_tensor(one, other)
    return type(one) is type(other) and (one == other or one != one)


def copied(value: Any, *, with_gradients: bool) -> Any:
    """The value with every tensor in its containers cloned; floating ones require a gradient if `with_gradients`."""
    if isinstance(value, Tensor):
        clone = value.detach().clone()
        wanted = value.requires_grad or (with_gradients and (value.is_floating_point() or value.is_complex()))
        return clone.requires_grad_(wanted)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(copied(part, with_gradients=with_gradients) for part in value))
    if type(value) in (list, tuple):
        return type(value)(copied(part, with_gradients=with_gradients) for part in value)
    if type(value) is dict:
        return {key: copied(part, with_gradients=with_gradients) for key, part in value.items()}
    return value
