"""Above the trees of two runs stand each call that is apart, with both lines, and charts of how that grows."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.compare import compare_traces
from fwdtrace.compare.comparison import ComparedStep, Origin, TraceComparison
from fwdtrace.compare.numbers.distance import SAME, Distance
from fwdtrace.render.compared_page import ApartRow, apart_rows, comparison_charts
from tests.helpers.traces import call, trace


def apart(relative: float) -> Distance:
    return Distance(relative * 10, relative, 3, same=False, close=False)


def compared() -> TraceComparison:
    before, after = (
        trace(
            call(0, None, "", "Net", line=lines[0]),
            call(1, 0, "up", "Linear", line=lines[1]),
            call(2, 0, "down", "Linear", line=lines[2]),
        )
        for lines in ((9, 11, 12), (9, 21, 22))
    )
    return replace(
        compare_traces(before, after),
        origin=Origin("up", 1, "Linear", apart=apart(0.25), call=1),
        aligned=((0, 0, False), (1, 1, False), (2, 2, False)),
        distances=((0, None, apart(0.75)), (1, None, apart(0.25)), (2, None, apart(0.5))),
        backward_distances=((2, "down.weight", SAME), (1, "up.weight", apart(0.1)), (0, None, SAME)),
    )


def test_the_origin_leads_and_each_call_that_is_apart_follows_with_both_lines_in_the_order_of_its_pass() -> None:
    assert list(apart_rows(compared())) == [
        ApartRow(("forward, from here", "", "up", "", "model.py:11", "model.py:21", "2.5", "0.25"), 1, 1),
        ApartRow(("forward", "", "up", "", "model.py:11", "model.py:21", "2.5", "0.25"), 1, 1),
        ApartRow(("forward", "", "down", "", "model.py:12", "model.py:22", "5", "0.5"), 2, 2),
        ApartRow(("forward", "", "the model", "", "model.py:9", "model.py:9", "7.5", "0.75"), 0, 0),
        ApartRow(("backward", "", "up: gradient of up.weight", "", "model.py:11", "model.py:21", "1", "0.1"), 1, 1),
    ]


def test_charts_show_the_growth_along_forward_and_from_call_to_call() -> None:
    [forward] = comparison_charts(compared())
    assert "relative difference along forward" in forward and forward.count("<circle") == 3
    steps = (
        ComparedStep(1, 1, True, (), None, SAME, SAME),
        ComparedStep(2, 2, True, ("w",), apart(0.1), apart(0.2), None),
    )
    *_, by_call = comparison_charts(replace(compared(), steps=steps))
    assert "difference by call of the program" in by_call and "weights before" in by_call


def test_a_comparison_without_its_traces_has_neither() -> None:
    comparison = replace(compared(), traces=None)
    assert list(apart_rows(comparison)) == [] and list(comparison_charts(comparison)) == []
