"""One line on the stderr of a terminal that says what is being done, when that takes longer than a second."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

PATIENCE = 1.0
"""Seconds in which nothing is said."""


@contextmanager
def progress(what: str, calls: Callable[[], int] | None = None) -> Iterator[Callable[[str], None]]:
    """Keep a line such as `running lenet … 3 s, 1,024 calls` as long as the block runs; `calls` counts them.

    The block gets a function that adds a detail to `what`. Nothing is written where stderr is a file or a pipe. The
    line is never wider than the terminal, and it is gone when the block ends.
    """
    if not sys.stderr.isatty():
        yield lambda detail: None
        return
    terminal, done, begin = sys.stderr, threading.Event(), time.monotonic()
    line = what

    def tell(detail: str) -> None:
        nonlocal line
        line = f"{what}: {detail}"

    def show() -> None:
        if done.wait(PATIENCE):
            return
        while not done.is_set():
            number = calls() if calls else 0
            counted = f", {number:,} calls" if number else ""
            text = f"{line} … {time.monotonic() - begin:.0f} s{counted}"
            terminal.write(f"\r\x1b[K{_cut(text, _columns(terminal) - 1)}")
            terminal.flush()
            done.wait(0.5)
        terminal.write("\r\x1b[K")
        terminal.flush()

    thread = threading.Thread(target=show, name="fwdtrace progress", daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        done.set()
        thread.join()


def _columns(terminal: TextIO) -> int:
    """How wide the terminal is; 80 where it does not say."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or 80
    except OSError:
        return 80


def _cut(text: str, width: int) -> str:
    """The text without as much of its beginning as makes it fit: what changes stands at its end."""
    return text if len(text) <= width else f"…{text[-(width - 1) :]}"
