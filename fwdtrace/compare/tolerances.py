"""By how much two results of one computation may be apart: per dtype, and for tensors known by their statistics."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

from fwdtrace.compare.comparison import Apart
from fwdtrace.trace import Stats

TOLERANCES: dict[str, tuple[float, float]] = {
    "bfloat16": (1.6e-2, 1e-5),
    "float16": (1e-3, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}
"""Relative to the largest element of a tensor, and absolute, coarsest first; everything else must be equal."""

SAME = Apart(0.0, 0.0, 0, same=True, close=True)
UNLIKE = Apart(None, None, None, same=False, close=False)
"""Where only one of two is finite."""


def judged(absolute: float, largest: float, ulp: int | None, dtypes: tuple[str, str]) -> Apart:
    """The distance of two tensors that are not the same, of these types; `largest` is the largest element."""
    relative, slack = tolerance_of(dtypes)
    absolute = min(absolute, sys.float_info.max)  # of two numbers at the ends of all numbers
    close = absolute <= max(slack, relative * largest)
    share = absolute / largest if largest else math.inf
    return Apart(absolute, share if math.isfinite(share) else None, ulp, same=False, close=close)


def apart_by_stats(one: Stats, other: Stats, dtypes: tuple[str, str]) -> Apart:
    """How far the statistics of two tensors are apart."""
    if (one.nan, one.inf, one.mean is None) != (other.nan, other.inf, other.mean is None):
        return UNLIKE
    if one == other:
        return SAME
    numbers = [(getattr(one, name) or 0.0, getattr(other, name) or 0.0) for name in ("mean", "std", "min", "max")]
    largest = max(abs(a) for a, _ in numbers)
    return judged(max(abs(a - b) for a, b in numbers), largest, None, dtypes)


def furthest(found: Iterable[Apart]) -> Apart:
    """The one of several that is furthest apart."""

    def distance(each: Apart) -> tuple[bool, bool, float]:
        return not each.same, not each.close, math.inf if each.absolute is None else each.absolute

    return max(found, key=distance)


def tolerance_of(dtypes: Iterable[str]) -> tuple[float, float]:
    """The relative and the absolute tolerance of the coarsest of the types."""
    return next((TOLERANCES[dtype] for dtype in TOLERANCES if dtype in dtypes), (0.0, 0.0))


def in_words(dtypes: Iterable[str]) -> str:
    """The tolerances of these types, `float32 1.3e-06 of the largest element or 1e-05`."""
    found = set(dtypes)
    return ", ".join(
        f"{dtype} {relative:g} of the largest element or {slack:g}"
        for dtype, (relative, slack) in TOLERANCES.items()
        if dtype in found
    )
