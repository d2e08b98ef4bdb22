"""The title, the facts and the totals of a trace."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.summary import totals
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Op, RunInfo
from tests.helpers.drawings import failing
from tests.helpers.traces import lenet


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
