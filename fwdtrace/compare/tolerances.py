"""By how much two results of one computation may be apart and still count as rounding, for each dtype."""

from __future__ import annotations

from collections.abc import Iterable

TOLERANCES: dict[str, tuple[float, float]] = {
    "bfloat16": (1.6e-2, 1e-5),
    "float16": (1e-3, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}
"""Relative to the largest element of a tensor, and absolute; coarsest first. All other dtypes must be equal."""


def is_rounding(absolute: float, largest: float, dtypes: Iterable[str]) -> bool:
    """Whether tensors of these dtypes that are `absolute` apart, with `largest` as largest element, differ by rounding.

    The coarsest of the dtypes decides.
    """
    names = set(dtypes)
    relative, slack = next((TOLERANCES[dtype] for dtype in TOLERANCES if dtype in names), (0.0, 0.0))
    return absolute <= max(slack, relative * largest)


def in_words(dtypes: Iterable[str]) -> str:
    """The tolerances of these dtypes, `float32 1.3e-06 of the largest element or 1e-05`."""
    names = set(dtypes)
    return ", ".join(
        f"{dtype} {relative:g} of the largest element or {slack:g}"
        for dtype, (relative, slack) in TOLERANCES.items()
        if dtype in names
    )
