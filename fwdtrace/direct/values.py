"""What a model takes and gives, taken apart into named tensors, copied, and compared bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

DEEPEST = 8
_SCALARS = (bool, int, float, complex, str, bytes)


def named_leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every tensor, number and string in a nested value with its place in it, such as `.logits` or `[0][1]`."""
    if isinstance(value, (Tensor, *_SCALARS)) or value is None:
        yield name, value
        return
    if depth == DEEPEST or isinstance(value, (type, nn.Module)) or callable(value):
        return
    for suffix, part in _parts(value):
        yield from named_leaves(part, name + suffix, depth + 1)


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


def same_bits(one: Any, other: Any) -> bool:
    """Whether two leaves are the same: tensors in dtype, shape and every bit, all else by type and value."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other) and (one == other or one != one)
    if one.dtype != other.dtype or one.shape != other.shape or one.device != other.device:
        return False
    a, b = _dense(one), _dense(other)
    if a.is_meta or b.is_meta:
        return True
    return torch.equal(_bytes(a), _bytes(b))


def largest_difference(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape, in their own unit; NaN where only one is NaN."""
    a, b = _dense(one), _dense(other)
    wide = torch.complex128 if a.is_complex() else torch.float64
    a, b = a.to(wide), b.to(wide)
    apart = (a - b).abs()
    apart[(a == b) | (a.isnan() & b.isnan())] = 0.0
    return float(apart.max()) if apart.numel() else 0.0


def is_rounding(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are as close as torch.testing asks of equal computations."""
    try:
        torch.testing.assert_close(_dense(other), _dense(one), equal_nan=True)
    except AssertionError:
        return False
    return True


def local(tensor: Tensor) -> Tensor:
    """The part of a distributed tensor that this process holds; any other tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f".{key}" if isinstance(key, str) else f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from ((f".{field}", getattr(value, field)) for field in value._fields)
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif dataclasses.is_dataclass(value):
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value))
    else:
        yield from ((f".{key}", part) for key, part in getattr(value, "__dict__", {}).items())


def _dense(tensor: Tensor) -> Tensor:
    tensor = local(tensor.detach())
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.is_nested:
        return torch.cat([part.reshape(-1) for part in tensor.unbind()])
    return tensor.to_dense() if tensor.layout is not torch.strided else tensor


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
