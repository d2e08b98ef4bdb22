"""How far two tensors of torch are apart, and whether they are the same bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from fwdtrace.compare.numbers.distance import SAME, Distance, distance_of_arrays

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}
"""For the size of an element in bytes the integers that elements are compared as: NaN and -0.0 have bits too."""


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value and in its containers, in order."""
    return [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def distance_of_tensors(one: Tensor, other: Tensor) -> Distance:
    """How far two tensors with equal numbers of elements are apart; dtypes and devices may differ."""
    dtypes = dtype_name(one.dtype), dtype_name(other.dtype)
    a, b = dense(one), dense(other)
    if a.dtype == b.dtype and a.device == b.device and _same_bits(a, b):
        return SAME
    a, b = a.cpu().reshape(-1), b.cpu().reshape(-1)
    unequal = a != b if a.dtype == b.dtype == torch.int64 else None
    wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    return distance_of_arrays(a.to(wide), b.to(wide), dtypes, unequal)


def same_tensor(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and device, and the same elements bit for bit."""
    if one.dtype != other.dtype or _shape(one) != _shape(other) or one.device != other.device:
        return False
    a, b = dense(one), dense(other)
    return a.is_meta or b.is_meta or _same_bits(a, b)


def dense(tensor: Tensor) -> Tensor:
    """The numbers as a plain strided tensor: of a distributed one this process's part, of a nested one in a row."""
    tensor = local(tensor.detach())
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.is_nested:
        tensor = torch.cat([part.reshape(-1) for part in tensor.unbind()])
    elif tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.resolve_conj().resolve_neg()


def local(tensor: Tensor) -> Tensor:
    """The part of a distributed tensor that this process holds; any other tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def dtype_name(dtype: torch.dtype) -> str:
    """The dtype as traces name it: `float32`."""
    return str(dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> tuple[object, ...]:
    """The shape; of a nested tensor, which has none, those of its parts."""
    return tuple([part.shape for part in tensor.unbind()]) if tensor.is_nested else tuple(tensor.shape)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two dense tensors of one dtype are the same bit for bit."""
    integers = _INTEGERS[one.element_size()]
    a, b = (tensor.contiguous().reshape(-1).view(integers) for tensor in (one, other))
    return torch.equal(a, b)
