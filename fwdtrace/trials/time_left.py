"""How long trials may take: in seconds of work, so that a busy machine finds the same advice."""

from __future__ import annotations

from time import perf_counter, thread_time

WAITING = 10
"""A second of work may take so many on the clock."""


class TimeLeft:
    """Seconds of work of this thread, from now on."""

    def __init__(self, seconds: float) -> None:
        self._until = thread_time() + seconds
        self._clock_until = perf_counter() + WAITING * seconds

    @property
    def is_up(self) -> bool:
        """Whether the time is over."""
        return not self.has(0.0)

    def has(self, seconds: float) -> bool:
        """Whether so much work can still be done."""
        return thread_time() + seconds <= self._until and perf_counter() <= self._clock_until
