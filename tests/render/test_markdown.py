"""Markdown is a table with a line for every row."""

from __future__ import annotations

from fwdtrace.render.markdown import markdown_text
from tests.helpers.traces import lenet


def test_markdown_is_a_table_with_a_line_for_every_row() -> None:
    lines = markdown_text(lenet(direct=True)).splitlines()
    assert lines[0] == "### `lenet`"
    assert "| module | called | input | output | params | from |" in lines or lines[4].startswith("| module | called |")
    assert sum(line.startswith("| &emsp;") for line in lines) == 10
    assert "**forward DIRECT**" in markdown_text(lenet(direct=True))
