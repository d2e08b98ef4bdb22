"""How long trials may take: by the clock, less what other programs have of it, so that a busy machine finds as much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from time import perf_counter, thread_time
from typing import Any

from torch import nn

from fwdtrace.recorder.frames import frame_role

_QUEUED = Path("/proc/thread-self/schedstat")
"""Linux says there how many nanoseconds this thread has run, and how many it has waited for a processor."""


class OutOfTime(BaseException):
    """A trial took longer than there was time for; no Exception, so that no model catches it."""


def worked() -> float:
    """Seconds of this thread, but for those in which it waited for a processor; the seconds that it ran elsewhere."""
    try:
        return perf_counter() - int(_QUEUED.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # not Linux, or one that does not count
        return thread_time()


class TimeLeft:
    """Seconds of work of this thread, from now on; twice as many where it waits more than it works, as it is slower."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._clock, self._worked = perf_counter(), worked()
        self._surely_until = self._clock + seconds  # by the clock no more can be done than that

    @property
    def is_up(self) -> bool:
        """Whether the time is over."""
        return not self.has(0.0)

    def has(self, seconds: float) -> bool:
        """Whether so much work can still be done."""
        now = perf_counter()
        if now + seconds > self._surely_until:
            done = worked() - self._worked
            is_busy = now - self._clock > 2 * done
            self._surely_until = now + self._seconds * (2 if is_busy else 1) - done
        return now + seconds <= self._surely_until

    @contextmanager
    def for_all(self) -> Iterator[None]:
        """Raise OutOfTime in this thread where it calls a module after the time, as long as the block runs."""
        found, thread = nn.Module.__call__, get_ident()

        @frame_role("stand-in")
        def in_time(module: Any, /, *args: Any, **kwargs: Any) -> Any:
            if get_ident() == thread and self.is_up:
                raise OutOfTime
            return found(module, *args, **kwargs)

        nn.Module.__call__ = in_time  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = found  # type: ignore[method-assign]
