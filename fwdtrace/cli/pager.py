"""What is longer than the screen of a terminal goes through a pager, as `git log` does, with its colours."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

USUAL = "less"


@contextmanager
def paged(console: Console, *, off: bool = False) -> Iterator[None]:
    """Send what the block prints on the console through `$PAGER` if it is longer than the screen.

    Without `$PAGER` it is `less`, if that is there. Nothing is paged where stdin or stdout is no terminal, nor with an
    empty `$PAGER`.
    """
    pager = None if off else _pager(console)
    if pager is None:
        yield
        return
    with console.capture() as captured:
        yield
    text = captured.get()
    if text.count("\n") < console.height or not _shown(pager, text):
        console.file.write(text)


def _pager(console: Console) -> list[str] | None:
    if not console.file.isatty() or not sys.stdin.isatty() or os.environ.get("TERM") == "dumb":
        return None
    command = shlex.split(os.environ.get("PAGER", USUAL))
    return command if command and shutil.which(command[0]) else None


def _shown(pager: list[str], text: str) -> bool:
    """Whether the pager could be started; it is waited for, and may be left before it has read all of the text."""
    environment = {"LESS": "FRX", "LV": "-c", **os.environ}  # as git has it: colours stay, and so does what was shown
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager
    try:
        process = subprocess.Popen(pager, stdin=subprocess.PIPE, env=environment, text=True, encoding="utf-8")
    except OSError:
        signal.signal(signal.SIGINT, before)
        return False
    sigpipe = signal.signal(signal.SIGPIPE, signal.SIG_IGN) if hasattr(signal, "SIGPIPE") else None
    try:
        with suppress(BrokenPipeError):
            process.communicate(text)
    finally:
        signal.signal(signal.SIGINT, before)
        if sigpipe is not None:
            signal.signal(signal.SIGPIPE, sigpipe)
    return True
