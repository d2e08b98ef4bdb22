"""The table of the calls of two programs, letter for letter."""

from __future__ import annotations

from fwdtrace.compare.comparison import ComparedStep
from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, SAME, Distance
from fwdtrace.render.compared_steps import steps_lines
from fwdtrace.render.lines import plain

APART = Distance(0.5, 0.25, None, same=False, close=False)


def test_each_call_says_how_far_its_parts_are_apart() -> None:
    steps = (
        ComparedStep(1, 1, True, (), None, SAME, SAME),
        ComparedStep(2, 3, False, ("a", "b"), APART, APART, NOT_COMPARABLE),
        ComparedStep(3, 4, None),
    )
    assert (
        plain(steps_lines(steps), 80)
        == """
    call  inputs  weights before        forward       backward
       1  same    same                  same          same
     2/3  other   2 by 0.25             0.25          not finite
     3/4  —       —                     —             —""".lstrip(" ")
    )


def test_of_many_calls_the_first_and_the_last_are_shown() -> None:
    lines = plain(steps_lines([ComparedStep(n, n, True) for n in range(1, 31)]), 80).splitlines()
    assert len(lines) == 15 and lines[-2].strip() == "… 18 calls" and lines[-1].split()[0] == "30"


def test_of_one_call_there_is_no_table() -> None:
    assert list(steps_lines(())) == []
