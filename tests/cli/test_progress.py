"""What takes long is shown on a terminal, and nowhere else."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
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


def run(folder: Path, stderr: int) -> str:
    """What `fwdtrace run` prints on stdout while its stderr goes elsewhere."""
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "fwdtrace", "run", "slow.py:Net", "-i", "1x4"],
        cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=120, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"},
    ).stdout  # fmt: skip


def test_a_terminal_is_told_what_takes_long_until_it_is_done(tmp_path: Path) -> None:
    outer, inner = pty.openpty()
    out = run(tmp_path, inner)
    os.close(inner)
    told = os.read(outer, 10_000).decode()
    os.close(outer)
    assert "running slow.py:Net … 1 s, 2 calls" in told
    assert told.endswith("\r\x1b[K")
    assert out.startswith("slow.py:Net · torch") and "…" not in out.splitlines()[0]


def test_a_pipe_is_told_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    run(tmp_path, writer)
    os.close(writer)
    assert os.read(reader, 100) == b""
    os.close(reader)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_has_the_latest_detail_and_is_cut_at_its_beginning_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress_file, "PATIENCE", 0.05)
    with progress(f"comparing {'long/' * 20}net.py:Net") as tell:
        tell("f5(x)")
        tell("f5.forward(x)")
        time.sleep(0.3)
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[0] == lines[-1] == "" and len(lines) > 2
    assert all(len(line) == 79 and line.startswith("…") for line in lines[1:-1])
    assert all(line.endswith("net.py:Net: f5.forward(x) … 0 s") for line in lines[1:-1])
