"""Every text is there at any width, and no line of it is wider than asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.cells import cell_len

from fwdtrace.compare import compare_traces
from fwdtrace.render.notebook import notebook_html
from fwdtrace.render.ranking import ranking_text
from fwdtrace.render.source import source_text
from fwdtrace.render.svg import svg_text
from fwdtrace.render.tree import tree_text
from fwdtrace.render.two_traces import changes_text
from fwdtrace.trace import Trace
from tests.helpers.drawings import blocks, failing
from tests.helpers.traces import everything, lenet, odd

SOME = (0, 1, 2, 3, 5, 8, 13, 21, 34, 40)
WIDTHS = [width if width in SOME else pytest.param(width, marks=pytest.mark.long) for width in range(41)]
TRACES = (lenet(), lenet(direct=True), failing(), blocks(12), everything(), *map(odd, range(6)))


def two_traces(shown: Trace, *, width: int) -> str:
    return changes_text(compare_traces(lenet(), shown), width=width)


def ranking(shown: Trace, *, width: int) -> str:
    return ranking_text(shown, by="time", top=20, width=width)


@pytest.mark.parametrize("text_of", [tree_text, source_text, ranking, two_traces], ids=lambda form: form.__name__)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_text_is_there_at_any_width_and_no_wider(text_of: Callable[..., str], width: int) -> None:
    for shown in TRACES:
        text = text_of(shown, width=width)
        assert text.strip()
        assert max(map(cell_len, text.splitlines())) <= max(width, 1)


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_a_picture_is_there_at_any_width(width: int) -> None:
    for shown in TRACES:
        assert svg_text(shown, width=width).startswith("<svg")
        assert notebook_html(shown, width=width).startswith("<pre")


def test_in_a_narrow_terminal_a_verdict_is_wrapped_and_not_cut() -> None:
    wide, narrow = (two_traces(lenet(direct=True), width=width).split("\n\n")[0] for width in (200, 20))
    assert narrow.split() == wide.split()
