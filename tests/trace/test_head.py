"""The head of a trace is read without its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdtrace.trace.head import Head, read_head
from tests.helpers.traces import everything


def test_the_head_is_read_even_where_the_rows_are_cut_off(tmp_path: Path) -> None:
    trace = everything()
    trace.save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(text[: text.index('"calls"') + 40])
    assert read_head(tmp_path / "a.json") == Head(trace.versions, trace.model, trace.run)


@pytest.mark.parametrize("text", ["", "[", "{}", '{"format": 1', '{"format": "fwdtrace.trace/1", "calls": []}', "x"])
def test_what_does_not_begin_as_a_trace_has_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_head(tmp_path / "a.json") is None
    assert read_head(tmp_path / "b.json") is None
