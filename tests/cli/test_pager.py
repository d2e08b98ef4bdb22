"""What is longer than the screen of a terminal goes through a pager, and nothing else does."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.commands import HANG, REPOSITORY, ending, finish, start
from tests.helpers.drawings import blocks
from tests.helpers.traces import lenet

PAGER = f"{sys.executable} -c \"import sys; print('paged:', repr(sys.stdin.read(2000)))\""


def on_a_terminal(*arguments: str, lines: int = 24, **settings: str) -> str:
    """What `fwdtrace` with these arguments writes to a terminal of 80 columns and this many lines."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PAGER")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", "LINES": str(lines), "TERM": "xterm", **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "fwdtrace", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    with open(ours, "rb", buffering=0) as terminal, ending(process):
        with suppress(OSError):  # the end of a terminal is an error on Linux
            while piece := terminal.read(65536):
                written += piece
        assert process.wait(timeout=HANG) == 0
    return written.decode("utf-8")


@pytest.fixture
def long(folder: Path) -> str:
    """A file with a trace whose tree has more rows than a screen."""
    blocks(20).save("long.json")
    return "long.json"


def test_a_tree_longer_than_the_screen_goes_through_the_pager_with_its_colours(long: str) -> None:
    written = on_a_terminal("show", long, "--no-fold", PAGER=PAGER)
    assert written.startswith("paged: ") and "\\x1b[1m" in written and "layers.0" in written


def test_a_tree_that_fits_is_printed_and_so_is_any_without_a_pager(long: str) -> None:
    assert "paged:" not in on_a_terminal("show", long, PAGER=PAGER)
    for arguments, pager in ((("--no-pager",), PAGER), ((), ""), ((), "no-such-pager"), ((), "cat")):
        written = on_a_terminal("show", long, "--no-fold", *arguments, PAGER=pager)
        assert "paged:" not in written and "layers.19" in written and "62 calls" in written


def test_a_pager_that_is_left_early_is_no_trouble(long: str) -> None:
    assert on_a_terminal("show", long, "--no-fold", PAGER="true") == ""


def test_a_pipe_is_never_paged(folder: Path) -> None:
    lenet().save("t.json")
    assert "paged:" not in finish(start("show", "t.json", PAGER=PAGER, LINES="5", FORCE_COLOR="1")).out
