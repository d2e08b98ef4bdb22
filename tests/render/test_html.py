"""A page of a trace, or of a comparison of two, needs nothing else and stays small."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fwdtrace.compare import compare_traces
from fwdtrace.render.html import comparison_html, html_text
from fwdtrace.trace import FailedModule, Op, Source, Stats, TensorMeta, Trace, Value
from tests.helpers.drawings import page_cells, page_data
from tests.helpers.growth import takes_at_most
from tests.helpers.traces import call, lenet, on_a_device, tensor, trace


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


def test_where_data_came_from_costs_few_bytes_and_equal_rows_share_their_words() -> None:
    def page(layers: int) -> str:
        def made(id: int) -> tuple[TensorMeta, ...]:
            return (replace(tensor(1, 16), source=Source(id, 0)),)

        root = call(0, None, "", "Net", outputs=made(layers - 1))
        chain = (call(n, 0, f"layers.{n}", "Linear", inputs=made(n - 1), outputs=made(n)) for n in range(1, layers))
        return html_text(trace(root, *chain))

    assert (len(page(4000)) - len(page(2000))) / 2000 < 70
    shown = page_data(page(100))["traces"][0]
    assert len(shown["kinds"]) == 2
    assert shown["flow"][5] == [[1], [0]]


def test_sources_of_every_kind_are_told_by_row_or_in_words() -> None:
    def leaf(source: Source | None, changed_by: int | None = None) -> TensorMeta:
        return replace(tensor(1, 16), source=source, changed_by=changed_by)

    inputs = (
        *(leaf(Source(argument="x")), leaf(Source(1, 2)), leaf(Source(1, 0), 2), leaf(Source(7, 1, call=3))),
        *(leaf(None), leaf(None, 2), Value("scale", "2.0"), leaf(Source(parameter="a\nb"))),
    )
    calls = (call(n, 0, f"m{n}", "Linear") for n in (1, 2))
    made = trace(call(0, None, "", "Net"), *calls, call(3, 0, "m3", "Linear", inputs=inputs))
    flow = page_data(html_text(made))["traces"][0]["flow"][3][0]
    assert flow == ["argument x", [2, 2], [2, 0, 1], "7 of call 3", None, [None, 0, 1], "", "parameter a\\nb"]


def test_a_page_of_a_comparison_has_both_traces_and_marks_what_differs() -> None:
    before = lenet()
    after = trace(*(before.calls[:-1]), call(10, 0, "f7", "Conv1d", (1, 84), (1, 10), parameters=850, line=30))
    comparison = compare_traces(before, after)
    data = page_data(comparison_html(comparison))
    assert data["comparison"]["equal"] is False
    assert data["comparison"]["verdict"] == comparison.verdict
    assert [view["title"].split(" · ")[0] for view in data["traces"]] == ["first", "second"]
    assert [view["differs"] for view in data["traces"]] == [[10], [10]]


def test_a_row_has_the_time_of_the_device_and_that_of_the_host() -> None:
    times = page_cells(html_text(on_a_device()), "time")
    assert times == ["5.0 ms device, 900 µs host", "4.0 ms device, 300 µs host", "700 µs"]


def long(number: int) -> Trace:
    """Calls and ops in blocks, no two of which are alike: their shapes, numbers, lines and settings all differ."""
    root = call(0, None, "", "Net")
    calls, ops = [root], []
    for n in range(1, number):
        shape, size = (1, n), Stats(n * 0.37, n * 0.11, -n * 0.7, n * 1.3, n % 7, 0, 0)
        given = replace(tensor(*shape, name="x"), source=Source(n - 1, 0))
        made = replace(tensor(*shape), source=Source(n, 0), stats=size)
        if n % 4:
            where = f"layers.{n}"
            one = call(n, 0, where, "Linear", inputs=(given,), outputs=(made,), parameters=n * 3, line=n % 500 + 1)
            failed = FailedModule(settings=f"in_features={n}")
            calls.append(replace(one, duration_us=n * 0.3, flops=n * 301, failed_module=failed))
        else:
            operands = replace(given, name="0"), replace(given, name="1", source=Source(n - 2, 0))
            ops.append(Op(n, 0, "+", operands, (made,), root.site))
    return trace(*calls, ops=tuple(ops))


def test_a_page_of_rows_that_all_differ_is_small_and_says_the_same_as_one_that_is_not_compressed() -> None:
    page = html_text(long(5000))
    assert 'type="application/octet-stream"' in page
    assert len(page) < 5000 * 60 + 50_000
    few = html_text(long(20))
    assert 'type="application/json"' in few
    for column in ("name", "input", "output", "parameters", "flops", "mean", "max", "time"):
        assert page_cells(page, column)[:20] == page_cells(few, column)


@pytest.mark.parametrize(
    "rows", [pytest.param(20_000, marks=pytest.mark.sweep), pytest.param(100_000, marks=pytest.mark.long)]
)
def test_a_page_of_many_rows_that_differ_is_made_as_fast_as_they_are_and_takes_a_hundred_bytes_each(rows: int) -> None:
    shown = long(rows)
    pages: list[str] = []
    assert takes_at_most(10, lambda: pages.append(html_text(shown)), lambda: long(rows))
    assert len(pages[0]) < rows * 100
