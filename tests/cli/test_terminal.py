"""Stdout holds the result and nothing else, in colour where a terminal shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.commands import REPOSITORY, finish, start

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


def test_a_reader_that_stops_early_is_no_trouble(folder: Path) -> None:
    line = f"{sys.executable} -m fwdtrace run 'blocks(depth=500)' --no-fold | head -n 1"
    ran = subprocess.run(line, shell=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)


def test_a_pipe_and_no_color_give_plain_text(folder: Path) -> None:
    assert "\x1b" not in finish(start("run", "lenet-direct")).out
    assert "\x1b" not in finish(start("run", "lenet-direct", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm")).out
    assert "\x1b[" in finish(start("run", "lenet-direct", FORCE_COLOR="1", TERM="xterm")).out
