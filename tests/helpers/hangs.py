"""What hangs is an error, and not a test run without an end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 300
"""More than this is a hang, also on a busy machine."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer than `SECONDS`."""

    def hangs(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
