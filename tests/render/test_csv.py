"""A spreadsheet or a data frame gets a row for every call and op."""

from __future__ import annotations

import csv
import io

from fwdtrace.render.csv import csv_text
from tests.helpers.traces import call, everything, measured, on_a_device, residual, trace


def test_a_table_has_a_row_for_every_call_and_op_with_what_was_measured() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(everything()))))
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["kind"] for row in rows] == ["call", "op", "call", "op"]
    first = rows[0]
    assert (first["class"], first["nth"], first["entry"], first["duration_us"]) == ("Net", "2", "forward", "640.125")
    assert first["inputs"] == "x.parts[0] bfloat16[2,-1]; scale=2.0"
    assert (first["file"], first["line"]) == ("/home/user/model.py", "31")
    assert (rows[3]["path"], rows[3]["error_type"], rows[3]["error"]) == ("+", "TypeError", "not so")


def test_a_spreadsheet_computes_nothing_from_a_name() -> None:
    written = csv_text(trace(call(0, None, "", "=HYPERLINK(1)")))
    assert next(csv.DictReader(io.StringIO(written)))["class"] == "'=HYPERLINK(1)"


def test_both_times_and_the_memory_have_a_column() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(on_a_device()))))
    assert [(row["duration_us"], row["host_us"], row["memory_bytes"]) for row in rows] == [
        ("5000.0", "900.0", "3145728"), ("4000.0", "300.0", "1048576"), ("700.0", "", ""),
    ]  # fmt: skip


def test_the_sources_of_inputs_are_the_ids_of_rows_or_what_else_they_were() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(residual()))))
    assert [row["sources"] for row in rows] == [
        *("argument x", "argument x", "1", "1 changed by 2"),
        "3; 1 changed by 2; parameter scale",
    ]


def test_what_was_worked_out_from_measures_has_columns_too() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(measured()))))
    assert [(row["self_us"], row["mean"], row["max"], row["grad_norm"]) for row in rows] == [
        ("700.0", "1.0", "1234.0", "5.0"), ("100.0", "0.5", "1234.0", "5.0"), ("100.0", "1.5e-05", "1234.0", "none"),
        ("100.0", "0.0", "1234.0", ""),
    ]  # fmt: skip
    assert [row["marks"] for row in rows] == ["", "", "no gradient", ""]
