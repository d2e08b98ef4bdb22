"""A call is slow beside those before it, of which there must be enough."""

from __future__ import annotations

from fwdtrace.program.slow import LEAST_TIMES, MOST_TIMES, UsualTime


def test_the_first_calls_are_never_slow() -> None:
    usual = UsualTime()
    assert not any(usual.is_exceeded(float(seconds), 2.0) for seconds in range(1, LEAST_TIMES + 1))


def test_a_call_beyond_so_many_medians_is_slow_and_counts() -> None:
    usual = UsualTime()
    for _ in range(LEAST_TIMES):
        usual.is_exceeded(1.0, 3.0)
    assert [usual.is_exceeded(seconds, 3.0) for seconds in (3.0, 3.1, 1.0)] == [False, True, False]
    assert usual.median == 1.0


def test_what_is_usual_is_what_was_so_lately() -> None:
    usual = UsualTime()
    found = [usual.is_exceeded(seconds, 3.0) for seconds in [1.0] * MOST_TIMES + [4.0] * MOST_TIMES]
    assert usual.median == 4.0
    assert found[-1] is False
