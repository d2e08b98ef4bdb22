"""Every column of the tree has a cell for a call and for an op."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.cli.options import COLUMNS as NAMES
from fwdtrace.cli.options import Shown
from fwdtrace.render.columns import COLUMNS, TITLES, UNASKED, Seen, cells_of, name_of
from fwdtrace.render.rows import tree_rows
from fwdtrace.render.sheet import sheet_for
from fwdtrace.trace import Op, Source, TensorMeta, Trace
from tests.helpers.drawings import rows
from tests.helpers.traces import call, residual, tensor, trace


def small() -> Trace:
    """A call that made a layer and an op."""
    calls = (call(0, None, "", "Net"), call(1, 0, "fc", "Linear", (1, 16), (1, 4), parameters=68_000))
    return trace(*calls, ops=(Op(2, 0, "torch.relu", (tensor(1, 4, name="input"),), (tensor(1, 4),)),))


def test_a_call_fills_every_column() -> None:
    shown = replace(small(), calls=(small().calls[0], replace(small().calls[1], duration_us=1500.0)))
    cells = cells_of(Seen(shown.calls[1], shown.calls[0], shown), sheet_for(shown), NAMES)
    assert {key: cell.whole for key, cell in cells.items()} == {
        "entry": "__call__ → forward", "inputs": "1×16", "outputs": "1×4", "parameters": "68,000",
        "time": "1.5 ms", "from_row": "?", "source": "model.py:10",
    }  # fmt: skip
    assert (cells["entry"].least, cells["parameters"].least) == ("__call__", "68.0k")


def test_an_op_has_neither_an_entry_nor_parameters() -> None:
    shown = small()
    cells = cells_of(Seen(shown.events[2], shown.events[1], shown), sheet_for(shown))
    assert [cells[column.key].whole for column in COLUMNS] == ["", "1×4", "1×4", "", "", "", ""]


def test_columns_have_titles() -> None:
    assert [title.whole for title in TITLES.values()] == [
        *("called", "input", "output", "params", "time", "data from", "from"),
    ]


def test_the_command_line_takes_every_column_and_shows_what_the_tree_shows() -> None:
    assert tuple(column.name for column in COLUMNS) == NAMES
    assert Shown().asked == UNASKED


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
