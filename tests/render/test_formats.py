"""Every format that a suffix picks: written without torch, with all text as text, from any trace at all."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from fwdtrace.cli.files import TRACE_SUFFIXES
from fwdtrace.cli.options import Shown
from fwdtrace.cli.results import save_as_suffix
from fwdtrace.render.csv import COLUMNS
from fwdtrace.render.html import html_text
from tests.helpers.commands import REPOSITORY, Command
from tests.helpers.drawings import HOSTILE, hostile, page_data
from tests.helpers.traces import lenet, odd


def test_no_format_needs_torch(tmp_path: Path) -> None:
    lenet().save(tmp_path / "t.json")
    files = [argument for suffix in TRACE_SUFFIXES for argument in ("-o", str(tmp_path / f"out{suffix}"))]
    code = f"import fwdtrace.cli as cli\ntry: cli.main({['show', str(tmp_path / 't.json'), *files]})\nfinally:\n"
    code += " import sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True).returncode == 0
    assert all((tmp_path / f"out{suffix}").stat().st_size for suffix in TRACE_SUFFIXES)


def test_depth_counts_where_a_file_shows_what_the_screen_shows(command: Command, folder: Path) -> None:
    lenet().save("t.json")
    command("show", "t.json", "--depth", "0", "-o", "t.md", "-o", "t.svg", "-o", "t.mmd", "-o", "t.dot", "-o", "t.csv")
    for name in ("t.md", "t.svg", "t.mmd", "t.dot"):
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
    elif suffix == ".dot":
        assert all(re.fullmatch(r'[^"]*("([^"\\]|\\.)*"[^"]*)*', line) for line in written.splitlines()[2:])
    elif suffix.endswith(".json"):
        json.loads(written)


@pytest.mark.parametrize("seed", range(20))
def test_any_trace_at_all_is_written_in_every_format(tmp_path: Path, seed: int) -> None:
    for suffix in TRACE_SUFFIXES:
        save_as_suffix(odd(seed), tmp_path / f"t{suffix}", Shown(), width=80)
