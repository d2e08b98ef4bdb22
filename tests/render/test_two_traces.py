"""The text of a comparison of two traces, letter for letter, from one written by hand; without torch."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fwdtrace.compare.around import Around
from fwdtrace.compare.comparison import Growth, TraceComparison
from fwdtrace.compare.difference import Difference
from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, Distance
from fwdtrace.render.two_traces import changes_text, print_changes
from fwdtrace.trace import ModelInfo, Versions

EQUAL = TraceComparison(
    "No difference found: 4 calls on both sides, and all outputs are bit-identical.",
    (),
    Versions("0.1.0", "2.13.0", "3.11.7"),
    ModelInfo("net.py:Net", "net.Net", False, 1234),
    ModelInfo("Other", "other.Other", True, 5),
)

DIFFERENT = replace(
    EQUAL,
    verdict="The second run leaves the first at [red]: its inputs agree, its output does not.",
    differences=(
        *(Difference("output", "numbers", f"layers.{n}", "", "", f"layers.{n} gives other numbers") for n in range(5)),
        Difference("exception", "exception", "a", "", "", "a raised ValueError in the first and none in the second"),
        *(Difference("hooks", "observation", "b", "", "", "b: hooks none became forward look") for _ in range(2)),
    ),
    growth=(
        Growth("layers.0", 1, Distance(0.5, 0.25, 12345678, same=False, close=False)),
        Growth("sig", 2, NOT_COMPARABLE),
        Growth(None, 1, Distance(0.5, None, None, same=False, close=False)),
        Growth("", 1, Distance(5e-7, 1e-7, 10**20, same=False, close=True)),
    ),
    notes=("a note that is long enough to be wrapped, as it goes on and on until the line is full",),
)


def test_two_traces_without_a_difference() -> None:
    assert (
        changes_text(EQUAL)
        == """\
No difference found: 4 calls on both sides, and all outputs are bit-identical.

first   Net · net.py:Net · 1,234 parameters
second  Other · 5 parameters · train mode"""
    )


def test_what_was_around_the_runs_comes_before_all_that_follows_from_it() -> None:
    around = (Around("OMP_NUM_THREADS", None, "4"), Around("random state", "0a", "0b"))
    assert changes_text(replace(EQUAL, around=around)).splitlines()[4:] == [
        "",
        "around the runs",
        "  ~ OMP_NUM_THREADS: not set became 4",
        "  ~ the random generator was in another state",
    ]


def test_two_traces_with_differences() -> None:
    assert (
        changes_text(DIFFERENT)
        == """\
The second run leaves the first at [red]: its inputs agree, its output does not.

first   Net · net.py:Net · 1,234 parameters
second  Other · 5 parameters · train mode

  from there on               difference    relative         ulp
  layers.0                           0.5        0.25  12,345,678
  sig #2                      not finite           —           —
  a module outside the tree          0.5           —           —
  the model                        5e-07       1e-07     1.0e+20

wrong numbers
  ✗ layers.0 gives other numbers
    … and 4 more differences of output, which --json lists

exception
  ✗ a raised ValueError in the first and none in the second

lost observation
  ✗ b: hooks none became forward look
  ✗ b: hooks none became forward look

Note: a note that is long enough to be wrapped, as it goes on and on until the
line is full."""
    )


@pytest.mark.parametrize("width", [50, 60, 80, 120])
def test_it_fits_the_width(width: int) -> None:
    assert max(map(len, changes_text(DIFFERENT, width=width).splitlines())) <= width


def test_it_prints_itself_and_brackets_are_text() -> None:
    plain = io.StringIO()
    print_changes(DIFFERENT, Console(file=plain, width=80))
    assert plain.getvalue() == changes_text(DIFFERENT) + "\n" == f"{DIFFERENT}\n"
