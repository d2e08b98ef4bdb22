"""By how much two results of one computation may be apart and still count as rounding, for each dtype."""

from __future__ import annotations

from collections.abc import Iterable

TOLERANCES: dict[str, float] = {
    "bfloat16": 1.6e-2,
    "float16": 1e-3,
    "float32": 4e-6,
    "float64": 1e-7,
    "complex64": 4e-6,
    "complex128": 1e-7,
}
"""Relative to the largest element of a tensor; coarsest first. All other dtypes must be equal.

Where both models are there to be run, rounding is measured as well: `KeptNumbers`, `with_rounding`.
"""


def is_rounding(absolute: float, largest: float, dtypes: Iterable[str]) -> bool:
    """Whether tensors of these dtypes that are `absolute` apart, with `largest` as largest element, differ by rounding.

    The coarsest of the dtypes decides.
    """
    names = set(dtypes)
    return absolute <= largest * next((TOLERANCES[dtype] for dtype in TOLERANCES if dtype in names), 0.0)


def in_words(dtypes: Iterable[str]) -> str:
    """The tolerances of these dtypes, `float32 4e-06 of the largest element`."""
    names = set(dtypes)
    return ", ".join(
        f"{dtype} {relative:g} of the largest element" for dtype, relative in TOLERANCES.items() if dtype in names
    )
