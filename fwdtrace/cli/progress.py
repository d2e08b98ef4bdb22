"""What is being done, on the stderr of a terminal, when it takes longer than a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds in which nothing is said."""


@contextmanager
def progress(what: str, calls: Callable[[], int] | None = None) -> Iterator[None]:
    """Keep a line such as `running lenet … 3 s, 1,024 calls` as long as the block runs; `calls` counts them.

    Nothing is written where stderr is a file or a pipe, and the line is gone when the block ends.
    """
    if not sys.stderr.isatty():
        yield
        return
    terminal, done, begin = sys.stderr, threading.Event(), time.monotonic()

    def tell() -> None:
        if done.wait(PATIENCE):
            return
        while not done.is_set():
            number = calls() if calls else 0
            counted = f", {number:,} calls" if number else ""
            terminal.write(f"\r\x1b[K{what} … {time.monotonic() - begin:.0f} s{counted}")
            terminal.flush()
            done.wait(0.5)
        terminal.write("\r\x1b[K")
        terminal.flush()

    thread = threading.Thread(target=tell, name="fwdtrace progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
