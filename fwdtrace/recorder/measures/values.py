"""The numbers in one tensor: whether it has any, and their statistics."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.torch_internals import Unseen, is_functional, part_here, without_torch_function
from fwdtrace.trace import Stats


def stats_of(tensor: Tensor) -> Stats | None:
    """The statistics of the elements, absolute values if they are complex; None where there are no values.

    Of a DTensor they are of the part on this rank: to look at the whole would have the ranks talk to each other.
    """
    try:
        with Unseen():
            tensor = part_here(tensor)
            if not has_values(tensor) or tensor.numel() == 0:
                return None
            numbers = (tensor.abs() if tensor.is_complex() else tensor).to_dense().double()
            zeros = numbers.numel() - int(numbers.count_nonzero())
            low, high = (bound.item() for bound in torch.aminmax(numbers))
            nan = inf = 0
            if not (math.isfinite(low) and math.isfinite(high)):
                nan, inf = int(numbers.isnan().sum()), int(numbers.isinf().sum())
                numbers = numbers[numbers.isfinite()]
                if not numbers.numel():
                    return Stats(None, None, None, None, zeros, nan, inf)
                low, high = (bound.item() for bound in torch.aminmax(numbers))
            if low == high:
                return Stats(low, 0.0, low, high, zeros, nan, inf)
            mean = numbers.mean().item()
            spread = (numbers - mean).square_().mean().sqrt().item()  # torch's own std takes eight times as long
            return Stats(mean, spread, low, high, zeros, nan, inf)
    except (RuntimeError, NotImplementedError):  # a layout or subclass that does not compute
        return None


def has_values(tensor: Tensor) -> bool:
    """Whether the tensor holds numbers, and not only a shape; one whose memory was given back does not."""
    if tensor.is_meta or is_functional(tensor) or type(tensor).__name__ == "FakeTensor":
        return False
    return _has_memory(tensor)


def is_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite; also where that cannot be computed, as nothing is known then."""
    try:
        with Unseen():
            if not has_values(tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
                return True
            # One pass that makes nothing; a sum that overflows is looked at more closely.
            return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
    except (RuntimeError, NotImplementedError):  # a layout or subclass that cannot be summed
        return True


def same_numbers(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape, type and numbers; False if their numbers cannot be read."""
    try:
        with Unseen():
            if part_here(tensor) is not tensor:  # to compare the whole would have the ranks talk to each other
                return False
            if (tensor.shape, tensor.dtype, tensor.device) != (other.shape, other.dtype, other.device):
                return False
            if tensor.is_cuda and torch.cuda.is_current_stream_capturing():  # reading would spoil the graph
                return False
            return has_values(tensor) and has_values(other) and torch.equal(tensor, other)
    except Exception:  # of a kind of tensor that does not compare
        return False


def version_of(tensor: Tensor) -> int:
    """How often the tensor was written into; -1 for an inference tensor, which has no count."""
    try:
        with without_torch_function():
            return tensor._version
    except RuntimeError:
        return -1


def _has_memory(tensor: Tensor) -> bool:
    kind: Any = type(tensor)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:  # its numbers are in other tensors
        names = kind.__tensor_flatten__(tensor)[0] if hasattr(kind, "__tensor_flatten__") else ()
        parts = [getattr(tensor, name) for name in names]  # among which torch names the mesh of a DTensor, too
        return all(_has_memory(part) for part in parts if isinstance(part, Tensor))
    if tensor.layout is torch.sparse_coo:
        return _has_memory(tensor._indices()) and _has_memory(tensor._values())
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.numel() == 0:
        return True
    if tensor.is_contiguous():
        return (tensor.storage_offset() + tensor.numel()) * tensor.element_size() <= tensor.untyped_storage().nbytes()
    last = sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride(), strict=True))
    return (tensor.storage_offset() + last + 1) * tensor.element_size() <= tensor.untyped_storage().nbytes()
