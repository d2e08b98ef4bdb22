"""A trace as a data frame has the rows of its CSV, and says what is missing where there is no pandas."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from fwdtrace.errors import FwdtraceError
from fwdtrace.render.csv import COLUMNS
from tests.helpers.traces import lenet, measured


def test_a_frame_has_a_row_for_every_call_and_op_with_numbers_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    def data_frame(rows: list[dict[str, object]], columns: list[str]) -> str:
        made.update(rows=rows, columns=columns)
        return "a frame"

    pandas: Any = ModuleType("pandas")
    pandas.DataFrame = data_frame
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    shown = measured()
    assert shown.to_frame() == "a frame"
    assert made["columns"] == list(COLUMNS)
    assert [row["id"] for row in made["rows"]] == [event.id for event in shown.events]
    assert all(isinstance(row["mean"], float) for row in made["rows"] if row.get("mean") is not None)


def test_pandas_itself_takes_the_rows() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is installed by who wants frames")
    frame = lenet().to_frame()
    assert isinstance(frame, pandas.DataFrame) and list(frame["path"][:2]) == ["", "c1"]
    assert frame["parameters"].sum() > 0 and frame["flops"].isna().all()


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # type: ignore[arg-type]
    with pytest.raises(FwdtraceError, match=r"to_frame needs pandas; run `pip install pandas`"):
        lenet().to_frame()


def test_a_tree_is_printed_and_shown_in_a_notebook_with_its_options() -> None:
    narrow = lenet().tree(width=60, columns=["output"], only=["f*"])
    assert "f5 Linear" in str(narrow) and "c1" not in str(narrow) and "params" not in str(narrow)
    assert repr(narrow) == str(narrow) and max(map(len, str(narrow).split("\n"))) <= 60
    page = narrow._repr_html_()
    assert page.startswith("<pre") and "f5" in page and "c1" not in page
    assert str(lenet().tree()) == str(lenet())
