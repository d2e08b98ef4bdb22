"""What counts as rounding: relative to the largest element, or below a floor; the coarsest dtype decides."""

from __future__ import annotations

import pytest

from fwdtrace.compare.tolerances import in_words, is_rounding


@pytest.mark.parametrize(
    ("absolute", "largest", "dtypes", "rounding"),
    [
        (1e-5, 0.0, ("float32", "float32"), True),
        (1.1e-5, 1.0, ("float32", "float32"), False),
        (1.2e-4, 100.0, ("float32", "float32"), True),
        (1.2e-2, 1.0, ("float32", "bfloat16"), True),
        (1.2e-2, 1.0, ("float32", "float16"), False),
        (2e-7, 1.0, ("float64", "float64"), False),
        (0.0, 1.0, ("int64", "int64"), True),
        (1.0, 1e9, ("int64", "int64"), False),
    ],
)
def test_a_difference_is_rounding_within_the_tolerance_of_the_coarsest_dtype(
    absolute: float, largest: float, dtypes: tuple[str, str], rounding: bool
) -> None:
    assert is_rounding(absolute, largest, dtypes) == rounding


def test_tolerances_are_said_coarsest_first() -> None:
    assert in_words(["float32", "int64", "bfloat16"]) == (
        "bfloat16 0.016 of the largest element or 1e-05, float32 1.3e-06 of the largest element or 1e-05"
    )
    assert in_words(["int64"]) == ""
