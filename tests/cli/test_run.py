"""`fwdtrace run` is judged as a script would: by exit status, by what is on stdout, and by what is on stderr."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fwdtrace import load_trace
from fwdtrace.cli.fail_on import _annotation
from fwdtrace.findings.explained import RULES
from fwdtrace.trace import Finding, Site
from tests.helpers.commands import REPOSITORY, Command, finish, start

NOISY = """
import ctypes
import os
import warnings

from torch import nn

print("import")


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        print("init")

    def forward(self, x):
        print("forward")
        os.write(1, b"file descriptor\\n")
        ctypes.CDLL(None).printf(b"C\\n")
        warnings.warn("a warning", stacklevel=1)
        return x
"""

TROUBLED = """
import time

from torch import nn


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Identity()

    def forward(self, x):
        self.first(x)
        try:
            {}["key"]
        except KeyError:
            raise ValueError("not this one")


class NotBuilt(nn.Module):
    def __init__(self):
        super().__init__()
        raise ValueError("not even built")


class Sleeps(Raises):
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


def test_the_model_runs_in_eval_mode_unless_training_is_asked_for(command: Command) -> None:
    assert json.loads(command("run", "--json").out)["model"]["training"] is False
    assert json.loads(command("run", "--json", "--train").out)["model"]["training"] is True


def test_the_seed_decides_weights_and_inputs(command: Command, folder: Path) -> None:
    (folder / "drawn.py").write_text(
        "import random, torch, numpy\n"
        "class Drawn(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.drawn = random.random() + numpy.random.rand() + torch.rand(()).item()\n"
        "    def forward(self, x):\n"
        "        return str(self.drawn + x.sum().item())\n"
    )

    def result(*arguments: str) -> object:
        return json.loads(command("run", "drawn.py:Drawn", "--json", *arguments).out)["calls"][0]["outputs"]

    assert result() == result("--seed", "0") != result("--seed", "1")


def test_inputs_are_given_in_order_and_by_name(command: Command) -> None:
    ran = command("run", "nested", "--json", "--input", "image=2x3x8x8", "-i", "mask=2x8x8:bool", "-i", "scale=scalar")
    inputs = json.loads(ran.out)["calls"][0]["inputs"]
    assert [(leaf["name"], leaf.get("shape")) for leaf in inputs] == [
        ("image", [2, 3, 8, 8]),
        ("mask", [2, 8, 8]),
        ("scale", []),
    ]


def test_a_direct_call_is_named_and_can_fail_the_command(command: Command) -> None:
    ran = command("run", "lenet-direct", "--fail-on", "FT001,FT010")
    assert ran.status == 1
    assert "FT001" in ran.out
    assert ran.err == "fwdtrace: failing as --fail-on asks: FT001\n"
    assert command("run", "lenet-direct", "--fail-on", "any").status == 1
    assert command("run", "lenet-direct").status == 0
    assert command("run", "lenet", "--fail-on", "any").status == 0


def test_the_codes_that_can_be_asked_for_are_those_that_findings_have() -> None:
    files = (REPOSITORY / "fwdtrace" / "findings").rglob("*.py")
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    found = re.findall(r'Finding\(\s*"(FT\d+)",\s*"([a-z-]+)"', source)
    assert sorted(set(found)) == sorted((rule.code, rule.name) for rule in RULES)


def test_in_a_workflow_of_github_a_finding_that_fails_is_shown_at_its_line(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "net.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a = nn.Conv2d(3, 1, 1)\n\n    def forward(self, x):\n        return self.a.forward(x)\n"
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder))
    ran = command("run", "net.py:Net", "--fail-on", "FT001", "--json")
    assert ran.status == 1
    assert ran.err.splitlines()[0] == (
        "::error title=FT001 direct-forward,file=net.py,line=9::a.forward ran without __call__; "
        "no hook was registered there, so nothing was skipped this time; call a(…) instead"
    )
    assert "::" not in ran.out.partition("findings")[0] and json.loads(ran.out)
    assert "::" not in command("run", "net.py:Net", "--fail-on", "FT005").err


def test_an_annotation_keeps_what_would_end_it() -> None:
    finding = Finding("FT006", "forward-error", None, "50%\nof it", Site("/a,b:c.py", 3, "f", ""))
    assert _annotation(finding) == "::error title=FT006 forward-error,file=/a%2Cb%3Ac.py,line=3::50%25%0Aof it"


def test_files_are_written_in_the_format_of_their_suffix(command: Command, folder: Path) -> None:
    ran = command("run", "lenet", "-o", "t.json", "-o", "t.txt", "--json")
    assert (folder / "t.json").read_text(encoding="utf-8") == ran.out
    assert len(load_trace("t.json").calls) == len(ORDER)
    shown = command("run", "lenet", "-o", "t.txt").out
    assert (folder / "t.txt").read_text(encoding="utf-8") == shown


def test_a_model_that_raises_shows_the_tree_and_then_its_own_traceback(command: Command, folder: Path) -> None:
    (folder / "troubled.py").write_text(TROUBLED)
    ran = command("run", "troubled.py:Raises")
    assert ran.status == 2
    assert "first" in ran.out
    assert "ValueError: not this one" in ran.err
    assert "KeyError: 'key'" in ran.err
    assert "During handling of the above exception" in ran.err
    assert "troubled.py" in ran.err
    assert str(REPOSITORY / "fwdtrace") not in ran.err
    assert "typer" not in ran.err
    assert ran.err.endswith("fwdtrace: 'troubled.py:Raises' raised while it ran; the traceback above is its own\n")


def test_a_trace_of_a_model_that_raised_is_still_one_document(command: Command, folder: Path) -> None:
    ran = command("run", "lenet-broken", "--json", "-o", "t.json")
    assert ran.status == 2
    assert json.loads(ran.out)["calls"][-1]["error"]["type"] == "RuntimeError"
    assert load_trace(folder / "t.json").calls[-1].path == "f5"


def test_a_constructor_that_raises_shows_its_own_traceback_only(command: Command, folder: Path) -> None:
    (folder / "troubled.py").write_text(TROUBLED)
    ran = command("run", "troubled.py:NotBuilt")
    frames = [line for line in ran.err.splitlines() if line.startswith("  File ")]
    assert (ran.status, ran.out, len(frames)) == (2, "", 1)
    assert frames[0].endswith("line 23, in __init__")
    assert ran.err.endswith(
        "ValueError: not even built\nfwdtrace: building 'troubled.py:NotBuilt' raised; the traceback above is its own\n"
    )


def test_an_import_that_fails_shows_its_own_traceback_only(command: Command, folder: Path) -> None:
    (folder / "importing.py").write_text("import absent_library\n")
    ran = command("run", "importing.py:Net")
    assert (ran.status, ran.out) == (2, "")
    assert [line.strip() for line in ran.err.splitlines()] == [
        "Traceback (most recent call last):",
        f'File "{folder}/importing.py", line 1, in <module>',
        "import absent_library",
        "ModuleNotFoundError: No module named 'absent_library'",
        "fwdtrace: 'importing' was found, but importing it raised; the traceback above is its own",
    ]


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


def test_stdout_holds_one_document_whatever_the_model_prints(folder: Path) -> None:
    (folder / "noisy.py").write_text(NOISY)
    ran = finish(start("run", "noisy.py:Noisy", "--json"))
    assert ran.status == 0
    assert json.loads(ran.out)["calls"][0]["class"] == "Noisy"
    printed = [line for line in ran.err.splitlines() if "arn" not in line]
    assert sorted(printed) == ["C", "file descriptor", "forward", "import", "init"]
    assert "UserWarning: a warning" in ran.err


def test_an_interrupt_shows_and_saves_what_had_run(folder: Path) -> None:
    (folder / "troubled.py").write_text(TROUBLED)
    process = start("run", "troubled.py:Sleeps", "-o", "t.json")
    assert process.stderr is not None
    assert process.stderr.readline() == "asleep\n"
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert ran.status == 2
    assert "first" in ran.out
    assert ran.err == "fwdtrace: interrupted; 'troubled.py:Sleeps' had run as far as the trace shows\n"
    assert [call.path for call in load_trace(folder / "t.json").calls] == ["", "first"]


def test_a_reader_that_stops_early_is_no_trouble(folder: Path) -> None:
    line = f"{sys.executable} -m fwdtrace run 'blocks(depth=500)' --no-fold | head -n 1"
    ran = subprocess.run(line, shell=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)


def test_a_pipe_and_no_color_give_plain_text(folder: Path) -> None:
    assert "\x1b" not in finish(start("run", "lenet-direct")).out
    assert "\x1b" not in finish(start("run", "lenet-direct", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm")).out
    assert "\x1b[" in finish(start("run", "lenet-direct", FORCE_COLOR="1", TERM="xterm")).out
