"""A factor is told from rounding by all elements together, and only where rounding could not give it."""

from __future__ import annotations

import numpy
import pytest

from fwdtrace.compare.programs.systematic import NOTHING, floor_of, share_in, times_by

FLOOR = 2.0**-7
CHANCE = numpy.random.default_rng(0)
SENT = CHANCE.standard_normal((64, 48))


def rounded(array: numpy.ndarray) -> numpy.ndarray:
    return array * (1 + CHANCE.uniform(-(2.0**-8), 2.0**-8, array.shape))


@pytest.mark.parametrize("factor", [1.01, 0.99, 1.05])
def test_a_factor_is_found_below_the_rounding_of_elements(factor: float) -> None:
    times = times_by(share_in(rounded(factor * SENT) - SENT, SENT), FLOOR)
    assert times == pytest.approx(factor, abs=1e-3)
    assert times_by(share_in(rounded(factor * SENT) - SENT, SENT), FLOOR, usual=factor - 1) is None


def test_rounding_of_elements_rows_or_columns_is_no_factor() -> None:
    of_rows = SENT * (1 + CHANCE.uniform(-0.03, 0.03, (64, 1)))
    for other in (SENT, rounded(SENT), rounded(SENT) + 0.004 * SENT, of_rows):
        assert times_by(share_in(other - SENT, SENT), FLOOR) is None


def test_what_is_far_apart_otherwise_is_no_factor() -> None:
    share = share_in(0.01 * SENT + 0.1 * CHANCE.standard_normal(SENT.shape), SENT)
    assert share is not None and times_by(share, FLOOR) is None


def test_a_few_elements_say_nothing() -> None:
    assert share_in(0.01 * SENT[0, :8], SENT[0, :8]) is None
    one_counts = numpy.array([100.0, *SENT.flat[:400] * 0.01])
    assert share_in(0.01 * one_counts, one_counts) is None
    assert NOTHING.is_beyond(0.0) is False


def test_only_coarse_dtypes_have_a_floor() -> None:
    assert [floor_of([dtype, "float32"]) for dtype in ("bfloat16", "float16", "float64")] == [2**-7, 2**-10, None]
