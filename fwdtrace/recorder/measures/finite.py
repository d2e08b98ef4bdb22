"""What is measured of the values of tensors, if asked: elements that are not finite, and statistics."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.describe import Leaves, tensors_of
from fwdtrace.recorder.notes import OpenCall, OpenOp, Options
from fwdtrace.recorder.torch_internals import Unseen, is_functional
from fwdtrace.trace import NonFinite, Stats, TensorMeta

_finite: dict[int, tuple[weakref.ref[Tensor], int]] = {}
"""Tensors found finite, by id, with the version they had: the output of one call is the input of the next."""


def are_finite(*values: Any) -> bool:
    """Whether no tensor in the values has a NaN or an infinity."""
    return all(_is_finite(tensor) for tensor in tensors_of(values))


def note_values(
    note: OpenCall | OpenOp, options: Options, inputs_finite: bool, result: Any, module: Any = None
) -> None:
    """Add to a call or op what was asked for of its result."""
    tensors = tensors_of(result)
    if options.check_finite and not all(_is_finite(tensor) for tensor in tensors):
        own = module.named_parameters(recurse=False) if module is not None else ()
        parameters = tuple(name for name, parameter in own if not _is_finite(parameter))
        nan, inf = (sum(counts) for counts in zip(*map(_nan_and_inf, tensors), strict=True))
        note.extra = {**(note.extra or {}), "nonfinite": NonFinite(nan, inf, inputs_finite, parameters)}
    if options.stats:
        note.outputs = _with_stats(note.outputs, tensors)


def forget_values() -> None:
    """Drop what is known of tensors; called when no recording is left."""
    _finite.clear()


def _is_finite(tensor: Tensor) -> bool:
    known = _finite.get(id(tensor))
    try:
        version = tensor._version
    except RuntimeError:  # an inference tensor has no version
        version = -1
    if known is not None and known[0]() is tensor and known[1] == version >= 0:
        return True
    try:
        with Unseen():
            if not has_values(tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
                return True
            # One pass that makes nothing; a sum that overflows is looked at more closely.
            if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
                return False
    except (RuntimeError, NotImplementedError):  # a layout or subclass that cannot be summed: nothing is known of it
        return True
    _finite[id(tensor)] = weakref.ref(tensor), version
    return True


def _nan_and_inf(tensor: Tensor) -> tuple[int, int]:
    with Unseen():
        if _is_finite(tensor):
            return 0, 0
        return int(tensor.isnan().sum()), int(tensor.isinf().sum())


def _with_stats(leaves: Leaves, tensors: list[Tensor]) -> Leaves:
    remaining = iter(tensors)
    return tuple(
        replace(leaf, stats=stats_of(next(remaining))) if isinstance(leaf, TensorMeta) else leaf for leaf in leaves
    )


def stats_of(tensor: Tensor) -> Stats | None:
    """The statistics of the elements, absolute values if they are complex; None where there are no values."""
    try:
        with Unseen():
            if not has_values(tensor) or tensor.numel() == 0:
                return None
            numbers = (tensor.abs() if tensor.is_complex() else tensor).to_dense().double()
            zeros = numbers.numel() - int(numbers.count_nonzero())
            low, high = (each.item() for each in torch.aminmax(numbers))
            nan = inf = 0
            if not (math.isfinite(low) and math.isfinite(high)):
                nan, inf = int(numbers.isnan().sum()), int(numbers.isinf().sum())
                numbers = numbers[numbers.isfinite()]
                if not numbers.numel():
                    return Stats(None, None, None, None, zeros, nan, inf)
                low, high = (each.item() for each in torch.aminmax(numbers))
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
