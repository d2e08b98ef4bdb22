"""Whether two tensors differ by a common factor, and not by rounding, which goes up as often as down."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fwdtrace.compare.programs.saved_numbers import Values

_FLOORS = {"bfloat16": 2.0**-7, "float16": 2.0**-10}
"""By dtype, the distance of 1 to the next number. A scale that was rounded once changes all elements by less."""
_SURE = 8.0
"""How many standard deviations a share must exceed, so that it is no accident."""
_MOST_LEFT = 4.0
"""How many times the floor may remain when the factor is taken away, relative to the tensor; else it is no factor."""
_ENOUGH = 32.0
"""The least number of elements that carry the mean; the mean of fewer says nothing."""


def floor_of(dtypes: Iterable[str]) -> float | None:
    """The largest share that rounding explains in the coarsest of these dtypes; None if no dtype is coarse."""
    names = set(dtypes)
    return next((floor for dtype, floor in _FLOORS.items() if dtype in names), None)


@dataclass(frozen=True)
class Share:
    """The best number `value` for which one array is about `value` times another, over all elements.

    `least` is the smallest value that is no accident. `left` is the size of what remains, relative to the other array.
    """

    value: float
    least: float
    left: float

    def is_beyond(self, floor: float, usual: float = 0.0) -> bool:
        """Whether rounding does not explain it, and it is not the usual share."""
        return abs(self.value - usual) > max(floor, self.least)


NOTHING = Share(0.0, 0.0, 0.0)


def share_in(difference: Any, of: Any) -> Share | None:
    """How many times `of` the difference is in the mean; None if too few elements carry the mean.

    Rows and columns may have been rounded together, so the spread of their sums counts too.
    """
    import numpy

    weight = of * of
    size = float(weight.sum())
    if not 0 < size < math.inf or size * size < _ENOUGH * float((weight * weight).sum()):
        return None
    value = float((difference * of).sum()) / size
    left = difference - value * of
    by_element = left * of
    spreads = [float((by_element * by_element).sum())]
    for axis in range(of.ndim if of.ndim > 1 else 0):
        sums = by_element.sum(tuple(other for other in range(of.ndim) if other != axis))
        spreads.append(float(numpy.square(sums).sum()))
    least = _SURE * math.sqrt(max(spreads)) / size
    return Share(value, least, math.sqrt(float((left * left).sum()) / size)) if math.isfinite(value) else None


def share_of_saved(before: Values, one: int, after: Values, other: int) -> Share | None:
    """By what share of itself the first tensor has grown into the second; None if that cannot be computed."""
    if before.about(one)["digest"] == after.about(other)["digest"]:
        return NOTHING
    ours, theirs = array_of(before, one), array_of(after, other)
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return None
    return share_in(theirs - ours, ours)


def times_by(share: Share | None, floor: float, usual: float = 0.0) -> float | None:
    """The factor by which every element is larger; None if rounding explains it, or it holds for some elements only."""
    if share is None or share.left > _MOST_LEFT * floor or not share.is_beyond(floor, usual):
        return None
    return 1 + share.value


def array_of(values: Values, number: int) -> Any:
    """The elements as a float64 array in their shape; None if they were not saved or are no floating-point numbers."""
    array = values.array(number)
    if array is None or array.dtype.kind != "f":
        return None
    return array.astype("f8").reshape(values.about(number)["shape"])
