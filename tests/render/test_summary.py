"""The title, the facts and the totals of a trace."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.summary import clock, totals
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Accelerator, Op, RunInfo
from tests.helpers.drawings import failing
from tests.helpers.traces import lenet, on_a_device


def test_the_header_says_what_ran_and_how() -> None:
    shown = replace(lenet(), run=RunInfo("cuda:0", True, None, 3, 2_500_000.0))
    shown = replace(shown, model=replace(shown.model, spec=None, training=True))
    lines = tree_text(shown).split("\n")
    assert lines[:2] == ["model.Net · torch 2.13.0 · train · cuda:0 · 1,234 parameters · rank 3", ""]
    assert "11 calls · 2.50 s" in lines


def test_totals_count_what_is_special_and_leave_out_what_is_not_there() -> None:
    assert totals(lenet()) == [("11 calls", "bold"), ("1.5 ms", "")]
    shown = replace(failing(), ops=(Op(9, 0, "+"),))
    assert totals(shown) == [("4 calls", "bold"), ("1 op", ""), ("1 raised", "red"), ("1.5 ms", "")]
    assert totals(lenet(direct=True))[1] == ("1 direct", "bold red")


def test_the_totals_tell_the_time_of_a_device_from_the_hosts() -> None:
    shown = on_a_device()
    assert [text for text, _ in totals(shown)] == [
        *("3 calls", "5.0 ms device time, 1 call by the host's clock", "1.5 ms host time"),
    ]
    assert "3 calls · 5.0 ms device time, 1 call by the host's clock · 1.5 ms host time" in tree_text(shown)


def test_the_time_of_a_device_is_that_of_the_outermost_calls_that_have_it() -> None:
    root, up, score = on_a_device().calls
    calls = replace(root, accelerator=None), up, replace(score, accelerator=Accelerator(1.0))
    shown = replace(on_a_device(), calls=calls)
    assert totals(shown)[1] == ("4.7 ms device time, 1 call by the host's clock", "")
    assert clock(replace(shown, calls=(up, score))) == "device time, 1 call by the host's clock"
    assert clock(replace(shown, calls=(up,))) == "device time" and clock(replace(shown, calls=(score,))) == ""
