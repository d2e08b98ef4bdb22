"""`fwdtrace run` is judged as a script would: by exit status, by what is on stdout, and by what is on stderr."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from fwdtrace import load_trace
from tests.helpers.commands import Command, finish, start

SLEEPS = """
import time

from torch import nn


class Sleeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Identity()

    def forward(self, x):
        self.first(x)
        print("asleep", flush=True)
        time.sleep(60)
"""


ORDER = ["", "c1", "sig", "s2", "c3", "sig", "s2", "flatten", "f5", "f6", "f7"]


def test_without_a_spec_it_runs_lenet(command: Command) -> None:
    ran = command("run", "--json")
    document = json.loads(ran.out)
    assert (ran.status, ran.err) == (0, "")
    assert [call["path"] for call in document["calls"]] == ORDER
    assert document["model"]["spec"] == "lenet"
    assert document["run"]["seed"] == 0
    assert document["calls"][0]["outputs"][0]["shape"] == [1, 10]


def test_the_tree_has_a_row_for_each_call(command: Command) -> None:
    ran = command("run", "lenet")
    rows = [line for line in ran.out.splitlines() if line.startswith(("├╴", "└╴"))]
    assert ran.status == 0
    assert [row[2:].split()[0] for row in rows] == ORDER[1:]
    assert all("__call__ → forward" in row for row in rows)


def test_lines_are_no_wider_than_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = command("run", "lenet-direct").out
    monkeypatch.setenv("COLUMNS", "160")
    wide = command("run", "lenet-direct").out
    assert 60 < max(map(len, narrow.splitlines())) <= 80 < max(map(len, wide.splitlines())) <= 160


def test_depth_and_no_fold_reach_the_tree(command: Command) -> None:
    folded = command("run", "blocks").out
    assert len(command("run", "blocks", "--no-fold").out.splitlines()) > len(folded.splitlines())
    assert len(command("run", "blocks", "--depth", "0").out.splitlines()) < len(folded.splitlines())


def test_files_are_written_in_the_format_of_their_suffix(command: Command, folder: Path) -> None:
    ran = command("run", "lenet", "-o", "t.json", "-o", "t.txt", "--json")
    assert (folder / "t.json").read_text(encoding="utf-8") == ran.out
    assert len(load_trace("t.json").calls) == len(ORDER)
    shown = command("run", "lenet", "-o", "t.txt").out
    assert (folder / "t.txt").read_text(encoding="utf-8") == shown


def test_a_trace_of_a_model_that_raised_is_still_one_document(command: Command, folder: Path) -> None:
    ran = command("run", "lenet-broken", "--json", "-o", "t.json")
    assert ran.status == 2
    assert json.loads(ran.out)["calls"][-1]["error"]["type"] == "RuntimeError"
    assert load_trace(folder / "t.json").calls[-1].path == "f5"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lenett"], "no built-in model is named 'lenett', the nearest is 'lenet'"),
        (["nett.py:Net"], "there is no file 'nett.py'; check the path"),
        (["torch.nn:Linear"], "missing a required argument: 'in_features'; write torch.nn:Linear(in_features=8"),
        (["lenet", "-i", "1x3x"], "--input 1x3x: '1x3x' is no shape"),
        (["lenet", "-i", "y=1x3"], "--input y=1x3: forward has no 'y'; it takes x"),
        (
            ["lenet", "--fail-on", "FT999"],
            "--fail-on FT999: there is no finding 'FT999'; there are FT001 (direct-forward)",
        ),
        (["lenet", "-o", "t.doc"], "-o t.doc: the suffix picks the format; use one of .json .txt "),
        (["lenet", "-o", "nowhere/t.json"], "-o nowhere/t.json: there is no folder 'nowhere'; make it first"),
    ],
)
def test_bad_input_is_one_line_with_a_remedy(command: Command, folder: Path, arguments: list[str], told: str) -> None:
    ran = command("run", *arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("fwdtrace: ")
    assert told in ran.err


def test_a_shape_that_the_model_rejects_shows_how_far_it_came(command: Command) -> None:
    ran = command("run", "lenet", "--input", "1x3x16x16")
    assert ran.status == 2
    assert "flatten" in ran.out
    assert "FT006" in ran.out
    assert "RuntimeError" in ran.err


def test_an_interrupt_shows_and_saves_what_had_run(folder: Path) -> None:
    (folder / "sleeps.py").write_text(SLEEPS)
    process = start("run", "sleeps.py:Sleeps", "-o", "t.json")
    assert process.stderr is not None
    assert process.stderr.readline() == "asleep\n"
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert ran.status == 2
    assert "first" in ran.out
    assert ran.err == "fwdtrace: interrupted; 'sleeps.py:Sleeps' had run as far as the trace shows\n"
    assert [call.path for call in load_trace(folder / "t.json").calls] == ["", "first"]
