"""What takes long is shown on a terminal, and nowhere else."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fwdtrace.cli import progress as progress_file
from fwdtrace.cli.progress import progress
from tests.helpers.commands import REPOSITORY

SLOW = """
import time
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = self.layer(x)
        time.sleep(2)
        return x
"""


def test_a_terminal_is_told_what_takes_long_until_it_is_done(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    outer, inner = pty.openpty()
    out = subprocess.run(
        [sys.executable, "-m", "fwdtrace", "run", "slow.py:Net", "-i", "1x4"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=inner, text=True, timeout=120, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"},
    ).stdout  # fmt: skip
    os.close(inner)
    told = os.read(outer, 10_000).decode()
    os.close(outer)
    assert re.search(r"running slow\.py:Net … \d+ s, 2 calls", told)
    assert told.endswith("\r\x1b[K")
    assert out.startswith("slow.py:Net · torch") and "…" not in out.splitlines()[0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    monkeypatch.setattr(progress_file, "PATIENCE", 0)
    before = threading.active_count()
    with progress("running") as tell:
        tell("f5(x)")
        assert threading.active_count() == before
    assert pipe.getvalue() == ""


def test_a_line_has_the_latest_detail_and_is_cut_at_its_beginning_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress_file, "PATIENCE", 0.05)
    with progress(f"comparing {'long/' * 20}net.py:Net") as tell:
        tell("f5(x)")
        tell("f5.forward(x)")
        until = time.monotonic() + 30
        while terminal.getvalue().count("…") < 2 and time.monotonic() < until:
            time.sleep(0.01)
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[0] == lines[-1] == "" and len(lines) > 2
    assert all(len(line) == 79 and line.startswith("…") for line in lines[1:-1])
    assert all(re.search(r"net\.py:Net: f5\.forward\(x\) … \d+ s$", line) for line in lines[1:-1])
