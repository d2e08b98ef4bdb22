"""Two ways to run the command line in tests: inside this process, and in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

REPOSITORY = Path(__file__).parents[2]
CHILDS_PATH = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "children")])
"""The PYTHONPATH of a process in which no deadline of the package may pass because the machine is busy."""
HANG = 300
"""Seconds after which a process hangs, on the busiest machine."""
Text = TypeVar("Text", str, bytes)


@dataclass(frozen=True)
class Outcome:
    """The result of a command: its exit status, and what it wrote to stdout and to stderr."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, restored_signals: None) -> Command:
    """Run `fwdtrace` with these arguments inside this process, 80 columns wide."""
    from fwdtrace.cli import main

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setattr(sys, "argv", ["fwdtrace"])

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def restored_signals() -> Iterator[None]:
    """Restore the handlers of the signals that a command lets end the process once it shows its result."""
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def start(*arguments: str, **settings: str) -> subprocess.Popen[str]:
    """Start `python -m fwdtrace` in a process of its own, with these environment variables."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment.update({"PYTHONPATH": CHILDS_PATH, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}, **settings)
    return subprocess.Popen(
        [sys.executable, "-m", "fwdtrace", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Wait for a process to end."""
    with ending(process):
        out, err = process.communicate(timeout=HANG)
    return Outcome(process.returncode, out, err)


@contextmanager
def ending(process: subprocess.Popen[Text]) -> Iterator[subprocess.Popen[Text]]:
    """Let no process run on, and no pipe of it stay open, after the block, whatever happens in it."""
    with process:
        try:
            yield process
        finally:
            process.kill()
