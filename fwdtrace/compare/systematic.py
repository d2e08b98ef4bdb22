"""Whether a small difference of two tensors goes one way: rounding goes up as often as down, a factor does not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fwdtrace.compare.saved_numbers import Values

_FLOORS = {"bfloat16": 2.0**-7, "float16": 2.0**-10}
"""The distance of 1 to the next number: a number that is rounded once, and goes into all elements, is apart by less."""
_SURE = 8.0
"""By how many standard deviations of what is left a share is too large to be an accident."""
_MOST_LEFT = 4.0
"""How many times the floor may be left beside a factor, relative to the tensor: what is further apart is no factor."""
_ENOUGH = 32.0
"""Of fewer elements that matter, the mean says nothing."""


def floor_of(dtypes: Iterable[str]) -> float | None:
    """The share that is no rounding in the coarsest of these dtypes; None if each element alone says it."""
    names = set(dtypes)
    return next((floor for dtype, floor in _FLOORS.items() if dtype in names), None)


@dataclass(frozen=True)
class Share:
    """How many times one array is in another in the mean, the least that is no accident, and what is left beside it.

    What is left is relative to the array.
    """

    value: float
    least: float
    left: float

    def is_beyond(self, floor: float, usual: float = 0.0) -> bool:
        """Whether it is none that rounding gives, nor the usual one."""
        return abs(self.value - usual) > max(floor, self.least)


NOTHING = Share(0.0, 0.0, 0.0)


def share_in(difference: Any, of: Any) -> Share | None:
    """The share of one array in another; None if the elements that matter are too few to tell.

    Rows and columns may be rounded together, so the sums over each of these count, too.
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
    """The share of the first tensor in what the second has more; None if it cannot be told."""
    if before.about(one)["digest"] == after.about(other)["digest"]:
        return NOTHING
    ours, theirs = array_of(before, one), array_of(after, other)
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return None
    return share_in(theirs - ours, ours)


def times_by(share: Share | None, floor: float, usual: float = 0.0) -> float | None:
    """The factor by which all elements are larger, and not only most of them; None if there is none beyond rounding."""
    if share is None or share.left > _MOST_LEFT * floor or not share.is_beyond(floor, usual):
        return None
    return 1 + share.value


def array_of(values: Values, number: int) -> Any:
    """The elements in float64 and in their shape; None if they are not there or no floating-point numbers."""
    array = values.array(number)
    if array is None or array.dtype.kind != "f":
        return None
    return array.astype("f8").reshape(values.about(number)["shape"])
