"""The numbers in one tensor: whether it has any, and their statistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fwdtrace.recorder.torch_internals import Unseen, is_functional
from fwdtrace.trace import Stats


def stats_of(tensor: Tensor) -> Stats | None:
    """The statistics of the elements, absolute values if they are complex; None where there are no values."""
    try:
        with Unseen():
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
    """Whether the tensor holds numbers, and not only a shape."""
    return not tensor.is_meta and not is_functional(tensor) and type(tensor).__name__ != "FakeTensor"
