"""Every column of the tree has a cell for a call and for an op."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.render.cells import Cell, Place
from fwdtrace.render.columns import Seen, cells_of, columns_of, name_files_once, name_of
from fwdtrace.render.numbers import Numbers
from fwdtrace.render.rows import tree_rows
from fwdtrace.render.sheet import sheet_for
from fwdtrace.render.tree import tree_text
from fwdtrace.trace import Event, Gradient, NonFinite, Op, Source, Stats, TensorMeta, Trace
from tests.helpers.drawings import rows
from tests.helpers.traces import call, residual, tensor, trace


def small() -> Trace:
    """A call that made a layer and an op."""
    calls = (call(0, None, "", "Net"), call(1, 0, "fc", "Linear", (1, 16), (1, 4), parameters=68_000))
    return trace(*calls, ops=(Op(2, 0, "torch.relu", (tensor(1, 4, name="input"),), (tensor(1, 4),)),))


def usual_cells(event: Event) -> dict[str, Cell]:
    numbers = Numbers(small())
    return cells_of(Seen(event, None, small(), numbers), columns_of((), numbers), sheet_for(small()))


def titles(shown: Trace) -> list[str]:
    return [column.title.whole.strip() for column in columns_of((), Numbers(shown))]


def test_a_call_fills_every_column() -> None:
    cells = usual_cells(small().calls[1])
    assert {key: cell.whole for key, cell in cells.items()} == {
        "called": "__call__ → forward", "input": "1×16", "output": "1×4", "params": "68,000", "from": "model.py:10",
    }  # fmt: skip
    assert (cells["called"].least, cells["params"].least) == ("__call__", "68.0k")


def test_an_op_has_neither_an_entry_nor_parameters() -> None:
    cells = usual_cells(small().events[2])
    assert [cell.whole for cell in cells.values()] == ["", "1×4", "1×4", "", ""]


def test_what_was_measured_has_a_column_by_itself_and_what_was_not_has_none() -> None:
    assert titles(small()) == ["called", "input", "output", "params", "from"]
    stats = Stats(0.5, 0.25, -1.0, 2.5, 0, 0, 0)
    layer = call(0, None, "fc", "Linear", outputs=(replace(tensor(4), stats=stats),), flops=3_000_000)
    measured = trace(layer, gradients=(Gradient("fc.weight", (4, 4), True, 0.5),))
    assert titles(measured) == [
        *("called", "input", "output", "params", "FLOPs", "mean", "std", "min", "max", "grad", "from"),
    ]
    spoiled = replace(layer, nonfinite=NonFinite(3, 0, True))
    assert "NaN" in titles(replace(measured, calls=(spoiled,)))


def test_columns_that_were_asked_for_are_shown_in_that_order_and_no_others() -> None:
    assert [column.key for column in columns_of(("params", "time", "params"), Numbers(small()))] == ["params", "time"]


def test_a_file_is_named_once_and_then_the_line_alone() -> None:
    cells: list[dict[str, Cell]] = [
        {"from": Place(text)} for text in ("a.py:1", "a.py:2", "", "a.py:3", "b.py:3", "a.py:1")
    ]
    name_files_once(cells)
    assert [row["from"].whole for row in cells] == ["a.py:1", ":2", "", ":3", "b.py:3", "a.py:1"]


def data_from(shown: Trace) -> list[str]:
    return [row.rstrip() for row in rows(shown, columns=("from-row",))]


def test_an_input_that_the_row_above_did_not_give_says_where_it_is_from() -> None:
    assert data_from(residual()) == [
        "Net              argument x",
        "├╴first Linear",
        "├╴torch.relu_",
        "├╴second Linear",
        "└╴+              torch.relu_, parameter scale",
    ]


def test_what_the_caller_was_given_goes_without_saying_and_what_nobody_knows_does_not() -> None:
    def leaf(source: Source | None) -> TensorMeta:
        return replace(tensor(1, 16), source=source)

    x, carried, unknown = leaf(Source(argument="x")), leaf(Source(4, 0, call=2)), leaf(None)
    calls = (
        call(0, None, "", "Net", inputs=(x, carried)),
        call(1, 0, "a", "Linear", inputs=(x, carried), outputs=(leaf(Source(1, 0)),)),
        call(2, 0, "b", "Linear", inputs=(unknown, carried), outputs=(leaf(Source(2, 0)),)),
        call(3, 0, "c", "Linear", inputs=(leaf(Source(1, 0)), leaf(Source(2, 0))), outputs=()),
    )
    assert data_from(trace(*calls)) == [
        "Net         argument x, 4 of call 2",
        "├╴a Linear",
        "├╴b Linear  ?, 4 of call 2",
        "└╴c Linear  a",
    ]


def test_the_name_of_a_row_stands_behind_its_guides() -> None:
    rows = tree_rows(small(), depth=None, fold=True, deepest=9)
    sheet = sheet_for(small())
    assert [name_of(row, row.entry, sheet).whole for row in rows] == ["Net", "├╴fc Linear", "└╴torch.relu"]  # type: ignore[arg-type]


def test_a_column_that_was_asked_for_and_has_nothing_is_named_with_what_measures_it() -> None:
    assert tree_text(small(), columns=["output", "flops", "mean", "nan"]).splitlines()[6:8] == [
        "flops, mean: nothing in this trace; measured with --costs --stats",
        "nan: nothing in this trace, as far as --check-finite looked",
    ]
    assert "nothing in this trace" not in tree_text(small()) + tree_text(small(), columns=["output", "time"])
