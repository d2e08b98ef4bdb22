"""Markdown is a table with a line for every row."""

from __future__ import annotations

from fwdtrace.render.markdown import markdown_text
from tests.helpers.drawings import blocks
from tests.helpers.traces import call, lenet, residual, trace


def test_markdown_is_a_table_with_a_line_for_every_row() -> None:
    lines = markdown_text(lenet(direct=True)).splitlines()
    assert lines[:7] == [
        "### `lenet`",
        "",
        r"torch 2.13.0 · eval, no grad · cpu · 1,234 parameters · 11 calls · 1 direct · 1.5 ms · 0.06 MB activations",
        "",
        "| module | called | input | output | params | from | notes |",
        "| --- | --- | --- | --- | --: | --- | --- |",
        "| `LeNet` | `__call__ → forward` | 1×3×32×32 | 1×10 | 62,006 | `model.py:5` |  |",
    ]
    assert lines[14] == (
        "| &emsp;`f5` Linear | **forward DIRECT** | 1×400 | 1×120 | 48,120 | `model.py:28` | 1 hook skipped |"
    )
    assert len(lines) == 17


def test_a_fold_is_a_line_that_says_what_it_hides() -> None:
    assert markdown_text(blocks(3)).splitlines()[10] == (
        "| &emsp;`layers.0 … layers.2` ×3, same shapes |  |  |  |  |  | +6 calls, `--no-fold` shows them |"
    )


def test_a_long_table_is_closed_at_first() -> None:
    parts = markdown_text(blocks(20), fold=False).split("\n\n")
    assert (parts[2], parts[-1]) == ("<details><summary>62 rows</summary>", "</details>")


def test_rows_have_ids_where_others_say_that_their_data_came_from_them() -> None:
    table = [line for line in markdown_text(residual()).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    place = cells[0].index("data from")
    assert [(row[0], row[place]) for row in cells if row[0].isdigit()] == [
        *(("0", "argument x"), ("1", "argument x"), ("2", "1"), ("3", "1 changed by 2")),
        ("4", "3, 1 changed by 2, parameter scale"),
    ]
    assert "data from" not in markdown_text(trace(call(0, None, "", "Net")))
