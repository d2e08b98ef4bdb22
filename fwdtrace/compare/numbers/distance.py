"""Distance: how far two tensors, or the statistics of two tensors, are apart. Free of torch and of numpy."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fwdtrace.compare.document import LEFT_OUT_IF_NONE
from fwdtrace.compare.numbers.tolerances import is_rounding
from fwdtrace.trace import Stats

_PRECISION: dict[str, tuple[float, float]] = {
    "float64": (2.0**-52, 2.0**-1022),
    "float32": (2.0**-23, 2.0**-126),
    "bfloat16": (2.0**-7, 2.0**-126),
    "float16": (2.0**-10, 2.0**-14),
    "float8_e4m3fn": (2.0**-3, 2.0**-6),
    "float8_e4m3fnuz": (2.0**-3, 2.0**-7),
    "float8_e5m2": (2.0**-2, 2.0**-14),
    "float8_e5m2fnuz": (2.0**-3, 2.0**-15),
}
"""For each floating dtype the distance from 1.0 to the next larger number and the smallest normal one, by torch."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two tensors are apart, or of several pairs of tensors those that are furthest apart.

    `absolute` is the largest difference of two elements, and `ulp` the same in units in the last place of the first of
    the two; `relative` is `absolute` by the largest element. All three are None where only one of two elements is NaN
    or infinite, `ulp` also for dtypes that are not floating, or not the same. `same` is bit for bit, `close` within the
    tolerance of the dtype. NaN counts as equal to NaN. All elements of the second may be that many `times` as large, by
    more than rounding can do, though each is near enough.
    """

    absolute: float | None
    relative: float | None
    ulp: int | None
    same: bool
    close: bool
    times: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)

    @property
    def ulp_text(self) -> str:
        """The units as text, `12,345`; of an element near zero they can have fifty digits: `1.2e+38`."""
        if self.ulp is None:
            return "—"
        return f"{self.ulp:,}" if self.ulp < 10**8 else f"{self.ulp:.1e}"

    @property
    def text(self) -> str:
        """The distance in words: `up to 0.01 apart, 0.031 of the largest element, 12 ulp`."""
        if self.absolute is None:
            return "NaN or infinite on one side only"
        relative = f", {self.relative:.2g} of the largest element" if self.relative is not None else ""
        ulp = f", {self.ulp_text} ulp" if self.ulp is not None else ""
        times = f"{self.times:.4g} times as large in the mean, " if self.times is not None else ""
        return f"{times}up to {self.absolute:.2g} apart{relative}{ulp}"


SAME = Distance(0.0, 0.0, 0, same=True, close=True)
NOT_COMPARABLE = Distance(None, None, None, same=False, close=False)
"""The distance where only one of two elements is finite, or where only digests are known and they differ."""


def distance_of_arrays(one: Any, other: Any, dtypes: tuple[str, str], unequal: Any = None) -> Distance:
    """How far two arrays that are not the same bit for bit are apart: of torch or of numpy, flat, and of one length.

    They are float64 or complex128 copies of elements of these dtypes. `unequal` marks the elements that differ, where
    these are whole numbers too large for float64.
    """
    difference = abs(one - other)
    if unequal is not None:
        difference[unequal & (difference < 1.0)] = 1.0
    if not len(difference):
        return Distance(0.0, None, None, same=False, close=True)
    place = int(difference.argmax())
    absolute = float(difference[place])
    if not math.isfinite(absolute):
        difference[(one == other) | ((one != one) & (other != other))] = 0.0
        difference[difference != difference] = math.inf
        place = int(difference.argmax())
        absolute = float(difference[place])
    if not math.isfinite(absolute):
        return NOT_COMPARABLE
    sizes = abs(one)
    size = float(sizes[place])
    if not math.isfinite(float(sizes.max())):
        sizes[~(sizes < math.inf)] = 0.0
    return _distance(absolute, float(sizes.max()), _ulp(absolute, size, dtypes), dtypes)


def distance_of_stats(one: Stats, other: Stats, dtypes: tuple[str, str]) -> Distance:
    """How far the statistics of two tensors are apart."""
    if (one.nan, one.inf, one.mean is None) != (other.nan, other.inf, other.mean is None):
        return NOT_COMPARABLE
    if one == other:
        return SAME
    numbers = [(getattr(one, name) or 0.0, getattr(other, name) or 0.0) for name in ("mean", "std", "min", "max")]
    largest = max(abs(number) for number, _ in numbers)
    return _distance(max(abs(number - second) for number, second in numbers), largest, None, dtypes)


def furthest(distances: Iterable[Distance]) -> Distance | None:
    """The largest of several distances; None if there is none."""

    def order(distance: Distance) -> tuple[bool, bool, float]:
        absolute = math.inf if distance.absolute is None else distance.absolute
        return not distance.same, not distance.close, absolute

    return max(distances, key=order, default=None)


def _distance(absolute: float, largest: float, ulp: int | None, dtypes: tuple[str, str]) -> Distance:
    absolute = min(absolute, sys.float_info.max)  # of two numbers at the two ends of all numbers
    relative = absolute / largest if largest else math.inf
    close = is_rounding(absolute, largest, dtypes)
    return Distance(absolute, relative if math.isfinite(relative) else None, ulp, same=False, close=close)


def _ulp(absolute: float, size: float, dtypes: tuple[str, str]) -> int | None:
    """A difference in units in the last place of an element of this size."""
    if dtypes[0] != dtypes[1] or dtypes[0] not in _PRECISION:
        return None
    epsilon, smallest = _PRECISION[dtypes[0]]
    return round(absolute / math.ldexp(epsilon, math.frexp(max(size, smallest))[1] - 1))
