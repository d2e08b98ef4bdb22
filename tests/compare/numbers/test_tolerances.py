"""What counts as rounding: relative to the largest element, however small that is; the coarsest dtype decides."""

from __future__ import annotations

import pytest

from fwdtrace.compare.numbers.tolerances import in_words, is_rounding


@pytest.mark.parametrize(
    ("absolute", "largest", "dtypes", "rounding"),
    [
        (1e-9, 0.0, ("float32", "float32"), False),
        (1e-9, 1e-4, ("float32", "float32"), False),
        (1e-9, 1e-3, ("float32", "float32"), True),
        (1.1e-5, 1.0, ("float32", "float32"), False),
        (3.9e-4, 100.0, ("float32", "float32"), True),
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
        "bfloat16 0.016 of the largest element, float32 4e-06 of the largest element"
    )
    assert in_words(["int64"]) == ""
