"""What takes long is shown on a terminal, and nowhere else."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from fwdtrace.cli import progress as progress_file
from fwdtrace.cli.progress import progress
from tests.helpers.commands import CHILDS_PATH, HANG, ending

SLOW = """
import sys
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = self.layer(x)
        sys.stdin.readline()
        return x
"""


def test_a_terminal_is_told_what_takes_long_until_it_is_done(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    outer, inner = pty.openpty()
    running = re.compile(r"running slow\.py:Net … \d+ s, 2 calls")
    with ending(subprocess.Popen(
        [sys.executable, "-m", "fwdtrace", "run", "slow.py:Net", "-i", "1x4"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=inner, text=True,
        env={**os.environ, "PYTHONPATH": CHILDS_PATH, "COLUMNS": "80"},
    )) as process:  # fmt: skip
        os.close(inner)
        told = ""
        while not running.search(told) and select.select([outer], [], [], HANG)[0]:
            told += os.read(outer, 10_000).decode()
        out, _ = process.communicate("go on\n", timeout=HANG)
    with suppress(OSError):  # the end of a terminal is an error on Linux
        while piece := os.read(outer, 10_000):
            told += piece.decode()
    os.close(outer)
    assert process.returncode == 0 and running.search(told)
    assert told.endswith("\r\x1b[K")
    assert out.startswith("slow.py:Net · torch") and "…" not in out.splitlines()[0]


class Terminal(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Semaphore(0)

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        self.written.release()

    def await_write(self) -> None:
        """Wait until a line has been written since this was last called."""
        assert self.written.acquire(timeout=HANG)


def test_a_pipe_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    monkeypatch.setattr(progress_file, "PATIENCE", 0)
    with progress("running") as tell:
        tell("f5(x)")
        assert "fwdtrace progress" not in [thread.name for thread in threading.enumerate()]
    assert pipe.getvalue() == ""


def test_a_line_has_the_latest_detail_and_is_cut_at_its_beginning_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress_file, "PATIENCE", 0.0)
    with progress(f"comparing {'long/' * 20}net.py:Net") as tell:
        tell("f5(x)")
        terminal.await_write()
        tell("f5.forward(x)")
        while "f5.forward" not in terminal.getvalue():  # the line that is being written may have the detail before
            terminal.await_write()
    before, *lines = terminal.getvalue().split("\r\x1b[K")
    lines = [line for line in lines if not re.search(r"net\.py:Net(: f5\(x\))? … \d+ s$", line)]
    assert before == lines[-1] == "" and len(lines) > 1
    assert all(len(line) == 79 and line.startswith("…") for line in lines[:-1])
    assert all(re.search(r"net\.py:Net: f5\.forward\(x\) … \d+ s$", line) for line in lines[:-1])
