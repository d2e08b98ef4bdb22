"""Stdout holds the result and nothing else, in colour where a terminal shows it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from fwdtrace.cli.terminal import to_stderr
from tests.helpers.commands import CHILDS_PATH, REPOSITORY, Command, finish, start
from tests.helpers.traces import call, lenet, trace

INTERRUPTED = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"

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


def test_stdout_holds_one_document_whatever_the_model_prints(folder: Path) -> None:
    (folder / "noisy.py").write_text(NOISY)
    ran = finish(start("run", "noisy.py:Noisy", "--json"))
    assert ran.status == 0
    assert json.loads(ran.out)["calls"][0]["class"] == "Noisy"
    printed = [line for line in ran.err.splitlines() if "arn" not in line]
    assert sorted(printed) == ["C", "file descriptor", "forward", "import", "init"]
    assert "UserWarning: a warning" in ran.err


@pytest.mark.parametrize(
    "command", ["show t.json --no-fold", pytest.param("run 'blocks(depth=500)' --no-fold", marks=pytest.mark.sweep)]
)
def test_a_reader_that_stops_early_is_no_trouble(folder: Path, command: str) -> None:
    calls = (call(id, 0, f"layer{id}", f"Kind{id}", (1, id), (1, id + 1)) for id in range(1, 1500))
    trace(call(0, None, "", "Net"), *calls).save("t.json")
    line = f"{sys.executable} -m fwdtrace {command} | head -n 1"
    environment = {**os.environ, "PYTHONPATH": CHILDS_PATH}
    ran = subprocess.run(line, shell=True, capture_output=True, text=True, env=environment)
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)


def test_a_pipe_and_no_color_give_plain_text(folder: Path) -> None:
    lenet(direct=True).save("t.json")
    assert "\x1b" not in finish(start("run", "lenet-direct")).out
    assert "\x1b" not in finish(start("show", "t.json", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm")).out
    assert "\x1b[" in finish(start("show", "t.json", FORCE_COLOR="1", TERM="xterm")).out


@pytest.mark.parametrize(("arguments", "status"), [("show t.json -o t.md", 0), ("compare t.json u.json -o t.txt", 1)])
def test_a_closed_stream_changes_neither_the_status_nor_the_files(folder: Path, arguments: str, status: int) -> None:
    lenet().save("t.json")
    lenet(direct=True).save("u.json")
    line = f"{sys.executable} -m fwdtrace {arguments}"
    environment = {**os.environ, "PYTHONPATH": CHILDS_PATH}
    file = Path(arguments.split()[-1])

    def run(command: str) -> subprocess.CompletedProcess[str]:
        file.unlink(missing_ok=True)
        return subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)

    as_open = run(line)
    for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        ran = run(f"{line} {closed}")
        assert ran.returncode == as_open.returncode == status
        assert (ran.stdout, ran.stderr) == (
            "" if " >" in f" {closed}" else as_open.stdout,
            "" if "2>" in closed else as_open.stderr,
        )
        assert file.read_text(encoding="utf-8").strip()


def test_an_error_is_not_printed_on_stdout_where_stderr_is_closed() -> None:
    line = f"{sys.executable} -m fwdtrace show nothing.json 2>&-"
    ran = subprocess.run(line, shell=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")


@pytest.mark.parametrize("columns", ["0", "", "abc", "1", "7"])
def test_any_width_gives_a_result(command: Command, folder: Path, monkeypatch: MonkeyPatch, columns: str) -> None:
    lenet().save("t.json")
    lenet(direct=True).save("u.json")
    monkeypatch.setenv("COLUMNS", columns)
    for arguments, status in ((["show", "t.json"], 0), (["rule", "FT001"], 0), (["compare", "t.json", "u.json"], 1)):
        ran = command(*arguments)
        assert ran.status == status
        assert ran.out.strip()


def test_what_an_encoding_does_not_take_is_escaped(folder: Path) -> None:
    lenet().save("t.json")
    for arguments in (["show", "t.json"], ["rule", "FT006"], ["models"], ["--help"]):
        ran = finish(start(*arguments, PYTHONIOENCODING="ascii"))
        assert ran.status == 0
        assert ran.out.isascii() and ran.out.strip()


@pytest.mark.parametrize(("module", "arguments"), [("typer", ["show", "--help"]), ("rich.console", ["show", "t.json"])])
def test_ctrl_c_while_something_is_imported_is_told_in_one_line(
    folder: Path, module: str, arguments: list[str]
) -> None:
    package, _, file = module.partition(".")
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text("" if file else INTERRUPTED)
    (folder / package / f"{file or 'none'}.py").write_text(INTERRUPTED)
    lenet().save("t.json")
    ran = finish(start(*arguments, PYTHONPATH=f"{folder}:{REPOSITORY}"))
    assert (ran.status, ran.out, ran.err) == (2, "", "fwdtrace: interrupted\n")


def test_ctrl_c_while_a_result_is_written_leaves_the_old_file(
    command: Command, folder: Path, monkeypatch: MonkeyPatch
) -> None:
    def interrupted(*_: object, **named: object) -> None:
        raise KeyboardInterrupt

    lenet().save("t.json")
    (folder / "t.md").write_text("old")
    monkeypatch.setattr("pathlib.Path.write_text", interrupted)
    ran = command("show", "t.json", "-o", "t.md")
    assert (ran.status, ran.out, ran.err) == (2, "", "fwdtrace: interrupted\n")
    assert (folder / "t.md").read_text() == "old"
    assert sorted(file.name for file in folder.iterdir()) == ["t.json", "t.md"]


def test_color_says_when_there_are_colours(folder: Path) -> None:
    lenet().save(folder / "t.json")
    for where in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}):
        coloured = finish(start("show", "t.json", "--color", "always", **where)).out
        assert "\x1b[" in coloured, where
    assert "\x1b" not in finish(start("show", "t.json", "--color", "auto")).out
    assert "\x1b" not in finish(start("show", "t.json", "--color", "never", FORCE_COLOR="1", TERM="xterm")).out


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_long_line_is_wrapped_on_a_terminal_alone_and_a_command_stays_whole(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "fwdtrace: saved the step, bit for bit, for fwdtrace run step/capsule.json"
    stream = _Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "50")
    to_stderr(text)
    wrapped = "fwdtrace: saved the step, bit for bit, for\n  fwdtrace run step/capsule.json"
    assert stream.getvalue() == (wrapped if is_terminal else text) + "\n"
