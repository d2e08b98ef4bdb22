"""Every format a trace is written in: by its suffix, without torch, with all text as text, read as its readers do."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from fwdtrace.cli.results import TRACE_SUFFIXES, Shown, save_as_suffix
from fwdtrace.compare import compare_traces
from fwdtrace.render.csv import COLUMNS, csv_text
from fwdtrace.render.html import comparison_html, html_text
from fwdtrace.render.markdown import markdown_text
from fwdtrace.render.mermaid import mermaid_text
from fwdtrace.render.svg import svg_text
from fwdtrace.render.timeline import timeline_text
from fwdtrace.trace import CallError, Op, Site, Trace, Value
from tests.helpers.commands import REPOSITORY, Command
from tests.helpers.traces import call, everything, lenet, odd, tensor, trace

HOSTILE = (
    *("</script><script>alert(1)</script>", "[red]x[/red]", "a|b", "\"quoted'", "`code`", "*bold*", "🙂", "שלום"),
    *("\u202ea", "a\nb", "\x1b[31m"),
)


def hostile(text: str) -> Trace:
    """A trace with this text in every place that a model can put one."""
    site = Site(f"/home/{text}.py", 3, text, text)
    root = call(0, None, "", text, site=site)
    inner = call(1, 0, text, text, site=site, inputs=(tensor(2, name=text), Value(text, text)))
    failed = call(2, 0, f"b.{text}", text, site=site, error=CallError(text, text))
    return trace(root, inner, failed, spec=text, ops=(Op(3, 0, text, (Value(text, text),), (tensor(2),), site),))


def page_data(page: str) -> dict[str, Any]:
    """What the page holds, as its script reads it."""
    found: dict[str, Any] = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    return found


def test_no_format_needs_torch(tmp_path: Path) -> None:
    lenet().save(tmp_path / "t.json")
    files = [argument for suffix in TRACE_SUFFIXES for argument in ("-o", str(tmp_path / f"out{suffix}"))]
    code = f"import fwdtrace.cli as cli\ntry: cli.main({['show', str(tmp_path / 't.json'), *files]})\nfinally:\n"
    code += " import sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True).returncode == 0
    assert all((tmp_path / f"out{suffix}").stat().st_size for suffix in TRACE_SUFFIXES)


def test_depth_counts_where_a_file_shows_what_the_screen_shows(command: Command, folder: Path) -> None:
    lenet().save("t.json")
    command("show", "t.json", "--depth", "0", "-o", "t.md", "-o", "t.svg", "-o", "t.mmd", "-o", "t.csv")
    for name in ("t.md", "t.svg", "t.mmd"):
        assert "c1" not in (folder / name).read_text(encoding="utf-8")
    assert "c1" in (folder / "t.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", TRACE_SUFFIXES)
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_of_a_model_breaks_out_of_a_format(tmp_path: Path, suffix: str, text: str) -> None:
    file = tmp_path / f"t{suffix}"
    save_as_suffix(hostile(text), file, Shown(), width=100)
    written = file.read_text(encoding="utf-8")
    assert "\x1b" not in written and "\u202e" not in written
    if suffix == ".html":
        assert "<script>alert" not in written
        assert page_data(written)["traces"][0]["title"] == page_data(html_text(hostile(text)))["traces"][0]["title"]
    elif suffix == ".svg":
        assert "alert" not in "".join(element.tag for element in ElementTree.fromstring(written).iter())
    elif suffix == ".csv":
        assert {len(row) for row in csv.reader(io.StringIO(written))} == {len(COLUMNS)}
    elif suffix == ".md":
        rows = [line for line in written.splitlines() if line.startswith("| ")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(written)
        assert not re.search(r"<(script|em|strong>bold)", rendered)
    elif suffix == ".mmd":
        assert not re.search(r'"[^"\n]*[<>](?!br>)(?<!<br>)[^"\n]*"', written)
    elif suffix.endswith(".json"):
        json.loads(written)


@pytest.mark.parametrize("seed", range(20))
def test_any_trace_at_all_is_written_in_every_format(tmp_path: Path, seed: int) -> None:
    for suffix in TRACE_SUFFIXES:
        save_as_suffix(odd(seed), tmp_path / f"t{suffix}", Shown(), width=80)


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


def test_a_timeline_holds_complete_events_that_nest_as_the_calls_do() -> None:
    document = json.loads(timeline_text(lenet()))
    assert document["displayTimeUnit"] == "ms"
    slices = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert [event["name"].split()[0] for event in slices][:3] == ["LeNet", "c1", "sig"]
    assert all({"name", "ph", "ts", "dur", "pid", "tid"} <= set(event) for event in slices)
    root, *inner = slices
    begin = root["ts"]
    for event in inner:  # none before the other has ended, and all within the call around them
        assert event["ts"] >= begin
        begin = event["ts"] + event["dur"]
    assert begin <= root["ts"] + root["dur"] + 1e-6
    assert "begin where the one before it ends" in document["otherData"]["placement"]


def test_markdown_is_a_table_with_a_line_for_every_row() -> None:
    lines = markdown_text(lenet(direct=True)).splitlines()
    assert lines[0] == "### `lenet`"
    assert "| module | called | input | output | params | from |" in lines or lines[4].startswith("| module | called |")
    assert sum(line.startswith("| &emsp;") for line in lines) == 10
    assert "**forward DIRECT**" in markdown_text(lenet(direct=True))


def test_a_chart_puts_modules_inside_those_that_call_them_and_arrows_in_order() -> None:
    written = mermaid_text(trace(call(0, None, "", "Net"), call(1, 0, "a", "Linear"), call(2, 0, "b", "Linear")))
    assert written.splitlines()[3:] == [
        'subgraph n0["Net · 1×16 → 1×16"]',
        "direction TB",
        'n1["a Linear<br>1×16 → 1×16"]',
        'n2["b Linear<br>1×16 → 1×16"]',
        "end",
        "n1 --> n2",
    ]


def test_a_picture_is_an_image_that_needs_nothing_else() -> None:
    picture = svg_text(lenet(direct=True))
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "@import" not in picture and "url(http" not in picture and "href" not in picture
    text = "".join(root.itertext()).replace("\xa0", " ")
    assert "f5 Linear" in text and "forward DIRECT" in text


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_notebook_shows_the_tree_with_all_text_as_text(text: str) -> None:
    piece = hostile(text)._repr_html_()
    assert set(re.findall(r"</?(\w+)", piece)) <= {"pre", "span"}
    assert "forward DIRECT" in lenet(direct=True)._repr_html_()


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
