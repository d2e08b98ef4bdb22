"""What a result that went wrong was computed from: the numbers of each tensor at the places where it went wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.measures.values import has_values, stats_of
from fwdtrace.recorder.torch_internals import Unseen
from fwdtrace.trace import Operand

_MOST_ROWS = 10


def operand_of(name: str, tensor: Tensor, places: Tensor | None = None) -> Operand | None:
    """The numbers of a tensor where `places`, a mask of the shape of the result, is true; None if it has none.

    They are of the whole tensor without a mask, or if the tensor does not broadcast to the shape of the mask.
    """
    try:
        with Unseen():
            if not _is_plain(tensor):
                return None
            there = _at(tensor, places)
            return Operand(
                name,
                tuple(tensor.shape),
                str(tensor.dtype).removeprefix("torch."),
                stats_of(tensor if there is None else there),
                places is not None and there is None,
                *_rows(tensor),
            )
    except (RuntimeError, NotImplementedError):  # a layout or subclass that does not compute
        return None


def non_finite_places(tensor: Tensor) -> Tensor | None:
    """The mask of the elements that are not finite; None where that cannot be computed."""
    try:
        with Unseen():
            return ~torch.isfinite(tensor) if _is_plain(tensor) and not tensor.is_sparse else None
    except (RuntimeError, NotImplementedError):
        return None


def first_place(places: Tensor) -> tuple[int, ...]:
    """The index of the first element of a mask that is true."""
    with Unseen():
        return tuple(int(index) for index in places.nonzero()[0])


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor has numbers that are all here; those of a subclass may be on other ranks."""
    kind: Any = type(tensor)
    return kind.__torch_dispatch__ is Tensor.__torch_dispatch__ and has_values(tensor)


def _at(tensor: Tensor, places: Tensor | None) -> Tensor | None:
    if places is None or places.device != tensor.device or tensor.layout is not torch.strided:
        return None
    if tensor.dim() > places.dim() or tensor.numel() == 0:
        return None
    pairs = zip(reversed(tensor.shape), reversed(places.shape), strict=False)
    return tensor.expand(places.shape)[places] if all(own in (1, other) for own, other in pairs) else None


def _rows(tensor: Tensor) -> tuple[tuple[int, ...], ...]:
    """Of a mask: below which first indices a row is true, false or minus infinity from end to end."""
    if tensor.dim() < 2 or tensor.numel() == 0 or tensor.layout is not torch.strided:
        return (), (), ()
    if tensor.dtype is torch.bool:
        return _firsts(tensor.all(-1)), _firsts(~tensor.any(-1)), ()
    if tensor.is_floating_point():
        return (), (), _firsts(torch.isneginf(tensor).all(-1))
    return (), (), ()


def _firsts(rows: Tensor) -> tuple[int, ...]:
    any_below: Any = rows.reshape(rows.shape[0], -1).any(-1)
    return tuple(any_below.nonzero().flatten()[:_MOST_ROWS].tolist())
