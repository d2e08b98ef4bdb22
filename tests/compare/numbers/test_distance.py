"""One distance for arrays of torch and of numpy, for statistics, and the furthest of several; judged by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
import torch

from fwdtrace.compare.numbers.distance import (
    _PRECISION,
    NOT_COMPARABLE,
    SAME,
    Distance,
    distance_of_arrays,
    distance_of_stats,
    furthest,
)
from fwdtrace.trace import Stats

FLOATS = ("float32", "float32")


def distances(one: list[Any], other: list[Any], dtypes: tuple[str, str], unequal: list[bool] | None = None) -> Distance:
    """The distance of two lists, which must be the same by torch and by numpy."""
    wide = torch.complex128 if any(isinstance(number, complex) for number in one) else torch.float64
    by_torch = distance_of_arrays(
        torch.tensor(one, dtype=wide),
        torch.tensor(other, dtype=wide),
        dtypes,
        None if unequal is None else torch.tensor(unequal),
    )
    with numpy.errstate(all="ignore"):
        by_numpy = distance_of_arrays(
            numpy.array(one, dtype="c16" if wide.is_complex else "f8"),
            numpy.array(other, dtype="c16" if wide.is_complex else "f8"),
            dtypes,
            None if unequal is None else numpy.array(unequal),
        )
    assert by_torch == by_numpy
    return by_torch


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ([1.0, -4.0], [1.0, -4.5], Distance(0.5, 0.125, 2**20, False, False)),
        ([1.0, -4.0], [1.0 + 2.0**-23, -4.0], Distance(2.0**-23, 2.0**-25, 1, False, True)),
        ([0.0], [-0.0], Distance(0.0, None, 0, False, True)),
        ([math.nan, 1.0], [math.nan, 3.0], Distance(2.0, 2.0, 2**24, False, False)),
        ([math.inf, 1.0], [math.inf, 1.0], Distance(0.0, 0.0, 0, False, True)),
        ([math.nan], [1.0], NOT_COMPARABLE),
        ([1.0, math.inf], [1.0, -math.inf], NOT_COMPARABLE),
        ([math.inf], [1e30], NOT_COMPARABLE),
        ([], [], Distance(0.0, None, None, False, True)),
        ([3 + 4j], [3 + 1j], Distance(3.0, 0.6, 3 * 2**21, False, False)),
    ],
)
def test_the_distance_is_that_of_the_elements_that_are_furthest_apart(
    one: list[Any], other: list[Any], found: Distance
) -> None:
    assert distances(one, other, FLOATS) == found


def test_there_are_units_in_the_last_place_only_of_one_floating_dtype() -> None:
    assert distances([1.0], [2.0], ("float16", "float16")).ulp == 2**10
    assert distances([1.0], [2.0], ("float16", "float32")).ulp is None
    assert distances([1.0], [2.0], ("int32", "int32")).ulp is None


def test_whole_numbers_that_float64_cannot_tell_apart_are_one_apart_at_least() -> None:
    one, other = [2**60, 5], [2**60 + 1, 5]
    found = distances(one, other, ("int64", "int64"), unequal=[True, False])
    assert found == Distance(1.0, 2.0**-60, None, False, False)


@pytest.mark.parametrize("dtype", _PRECISION)
def test_the_precision_of_each_dtype_is_what_torch_says(dtype: str) -> None:
    limits = torch.finfo(getattr(torch, dtype))
    assert _PRECISION[dtype] == (limits.eps, limits.tiny)


def test_a_distance_is_told_in_words() -> None:
    assert Distance(0.0123, 0.5, 1234567, False, False).text == (
        "up to 0.012 apart, 0.5 of the largest element, 1,234,567 ulp"
    )
    assert Distance(2.0, None, None, False, False).text == "up to 2 apart"
    assert Distance(0.5, None, 36 * 10**43, False, False).ulp_text == "3.6e+44"
    assert NOT_COMPARABLE.text == "NaN or infinite on one side only"
    assert NOT_COMPARABLE.ulp_text == "—"


STATS = Stats(0.5, 1.0, -2.0, 4.0, 0, 0, 0)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (STATS, SAME),
        (Stats(0.5, 1.0, -2.0, 5.0, 0, 0, 0), Distance(1.0, 0.25, None, False, False)),
        (Stats(0.5, 1.0, -2.0, 4.0, 1, 0, 0), Distance(0.0, 0.0, None, False, True)),
        (Stats(0.5, 1.0, -2.0, 4.0, 0, 1, 0), NOT_COMPARABLE),
        (Stats(None, None, None, None, 0, 0, 0), NOT_COMPARABLE),
    ],
)
def test_statistics_are_as_far_apart_as_their_numbers(other: Stats, found: Distance) -> None:
    assert distance_of_stats(STATS, other, FLOATS) == found


def test_what_cannot_be_compared_is_further_than_any_distance() -> None:
    rounding, large = Distance(9.0, 1e-7, 1, False, True), Distance(5.0, 5.0, 9, False, False)
    assert furthest([SAME, large, NOT_COMPARABLE, rounding]) is NOT_COMPARABLE
    assert furthest([rounding, large, SAME]) is large
    assert furthest([SAME, rounding]) is rounding
    assert furthest([]) is None
