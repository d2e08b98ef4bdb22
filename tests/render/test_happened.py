"""What happened in a call, and how the numbers of its modules grew up to it."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.closing import totals_and_findings
from fwdtrace.render.happened import charts, magnitude_lines
from fwdtrace.render.html import html_text
from fwdtrace.render.kept_calls import event_lines_of_ranks
from fwdtrace.render.sheet import sheet_for
from fwdtrace.trace import Stats, Trace
from fwdtrace.trace.info import EarlierCall, Magnitude, StepInfo
from tests.helpers.traces import call, tensor, trace


def grown() -> Trace:
    """A call whose layer gave an infinity, and two calls before it."""
    spoiled = replace(tensor(1, 2), stats=Stats(1.0, 1.0, -9.0, 9.0, 0, 0, 1))
    fine = replace(tensor(1, 2), stats=Stats(1.0, 1.0, -800.0, 9.0, 0, 0, 0))
    layer, last = call(1, 0, "a", "Linear", outputs=(fine,)), call(2, 0, "b", "Exp", outputs=(spoiled,))
    made = trace(call(0, None, "", "Net"), layer, last)
    earlier = tuple(
        EarlierCall(number, (Magnitude("a", size), Magnitude("b", size / 8))) for number, size in ((1, 8.0), (11, 80.0))
    )
    steps = (StepInfo(1, (0.1,), 2.0), StepInfo(2, (0.1,), None))
    run = replace(made.run, event="nonfinite", replay="exact", earlier=earlier, last_steps=steps)
    return replace(made, run=run)


def test_the_growth_of_each_module_is_told_up_to_this_call() -> None:
    lines = [
        "largest output in calls 1 and 11, then in this call:",
        "  a  ▃▆█  8 → 80 → 800",
        "  b  ▁▃✗  1 → 10 → not finite",
    ]
    assert magnitude_lines(grown(), 80) == lines
    sheet = sheet_for(grown())
    below = ["".join(text for text, _ in line) for line in totals_and_findings(grown(), sheet)]
    assert [line for line in below if line in lines] == lines


def test_without_earlier_calls_nothing_is_told() -> None:
    assert magnitude_lines(trace(call(0, None, "", "Net")), 80) == []
    assert charts(trace(call(0, None, "", "Net"))) == []


def test_the_page_has_a_chart_of_the_steps_and_one_of_the_modules() -> None:
    page = html_text(grown())
    assert page.count("<figure class") == 2
    assert "run once more, bit for bit as at first" in page


def test_what_happened_on_another_rank_is_said_with_its_number() -> None:
    made = grown()
    alone = replace(made.run, earlier=(), last_steps=(), replay=None, replay_reason="no memory")
    assert event_lines_of_ranks([replace(made, run=replace(alone, call=6, step=3, rank=1))]) == [
        "rank 1: not finite: call 6 of Net, step 3; not run again: no memory"
    ]
