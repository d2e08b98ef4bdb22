"""Which calls of a model take much longer than its calls usually do."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

MOST_TIMES = 100
LEAST_TIMES = 20
"""So many calls must have been timed before one of them can be called slow."""


class UsualTime:
    """The median of the times of the last calls of a model, in seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._sorted: list[float] = []

    @property
    def median(self) -> float:
        """The time that half of the last calls took no longer than."""
        return self._sorted[len(self._sorted) // 2]

    def is_exceeded(self, seconds: float, factor: float) -> bool:
        """Whether a call took more than so many times the median of those before it; it counts from then on."""
        exceeded = len(self._sorted) >= LEAST_TIMES and seconds > factor * self.median
        self._times.append(seconds)
        insort(self._sorted, seconds)
        if len(self._times) > MOST_TIMES:
            del self._sorted[bisect_left(self._sorted, self._times.popleft())]
        return exceeded
