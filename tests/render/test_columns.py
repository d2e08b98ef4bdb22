"""Every column of the tree has a cell for a call and for an op."""

from __future__ import annotations

from fwdtrace.render.columns import COLUMNS, TITLES, cells_of, name_of
from fwdtrace.render.rows import tree_rows
from fwdtrace.render.sheet import sheet_for
from fwdtrace.trace import Op, Trace
from tests.helpers.traces import call, tensor, trace


def small() -> Trace:
    """A call that made a layer and an op."""
    calls = (call(0, None, "", "Net"), call(1, 0, "fc", "Linear", (1, 16), (1, 4), parameters=68_000))
    return trace(*calls, ops=(Op(2, 0, "torch.relu", (tensor(1, 4, name="input"),), (tensor(1, 4),)),))


def test_a_call_fills_every_column() -> None:
    cells = cells_of(small().calls[1], sheet_for(small()))
    assert {key: cell.whole for key, cell in cells.items()} == {
        "entry": "__call__ → forward", "inputs": "1×16", "outputs": "1×4", "parameters": "68,000",
        "source": "model.py:10",
    }  # fmt: skip
    assert (cells["entry"].least, cells["parameters"].least) == ("__call__", "68.0k")


def test_an_op_has_neither_an_entry_nor_parameters() -> None:
    cells = cells_of(small().events[2], sheet_for(small()))
    assert [cells[column.key].whole for column in COLUMNS] == ["", "1×4", "1×4", "", ""]


def test_columns_have_titles() -> None:
    assert [title.whole for title in TITLES.values()] == ["called", "input", "output", "params", "from"]


def test_the_name_of_a_row_stands_behind_its_guides() -> None:
    rows = tree_rows(small(), depth=None, fold=True, deepest=9)
    sheet = sheet_for(small())
    assert [name_of(row, row.entry, sheet).whole for row in rows] == ["Net", "├╴fc Linear", "└╴torch.relu"]  # type: ignore[arg-type]
