"""A page of a trace, or of a comparison of two, needs nothing else and stays small."""

from __future__ import annotations

import re

from fwdtrace.compare import compare_traces
from fwdtrace.render.html import comparison_html, html_text
from tests.helpers.drawings import page_data
from tests.helpers.traces import call, lenet, trace


def test_a_page_needs_nothing_else_and_is_small() -> None:
    page = html_text(lenet())
    assert len(page.encode()) < 50_000
    assert not re.search(r"(src|href)=|https?://", page)
    assert len(page_data(page)["traces"][0]["rows"]) == 11


def test_a_page_of_many_equal_calls_grows_by_few_bytes_a_call() -> None:
    def page(layers: int) -> int:
        root = call(0, None, "", "Net")
        return len(html_text(trace(root, *(call(n, 0, f"layers.{n}", "Linear") for n in range(1, layers)))))

    assert (page(4000) - page(2000)) / 2000 < 60


def test_a_page_of_a_comparison_has_both_traces_and_marks_what_differs() -> None:
    before = lenet()
    after = trace(*(before.calls[:-1]), call(10, 0, "f7", "Conv1d", (1, 84), (1, 10), parameters=850, line=30))
    comparison = compare_traces(before, after)
    data = page_data(comparison_html(comparison))
    assert data["comparison"]["equal"] is False
    assert data["comparison"]["verdict"].replace("\n", " ") == comparison.verdict
    assert [view["title"].split(" · ")[0] for view in data["traces"]] == ["first", "second"]
    assert [view["differs"] for view in data["traces"]] == [[10], [10]]
