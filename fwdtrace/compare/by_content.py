"""Which calls of two saved traces belong together by what they gave and were given, as far as statistics tell."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fwdtrace.trace import Call, Stats

_CLOSE = 1e-4
"""How far the statistics of one tensor in two runs may be apart, by its largest element."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How many elements a tensor has, whatever its shape, and their statistics."""

    count: int
    stats: Stats

    @property
    def size(self) -> float:
        """The largest element, by which distances are measured."""
        return max(abs(self.stats.min or 0.0), abs(self.stats.max or 0.0))

    def is_like(self, other: Summary) -> bool:
        """Whether both may be of the same elements in some order, apart from rounding."""
        if (self.count, self.stats.nan, self.stats.inf) != (other.count, other.stats.nan, other.stats.inf):
            return False
        reach = _CLOSE * max(self.size, other.size)
        pairs = ((getattr(each.stats, name) or 0.0 for each in (self, other)) for name in ("mean", "std", "min", "max"))
        return all(abs(one - two) <= reach for one, two in pairs)


Summaries = tuple[tuple[Summary, ...], tuple[Summary, ...]]
SummariesOf = Callable[[Call], Summaries]
"""From a call to what is known of the tensors that went in, and of those that came out."""


def paired_by_content(
    ours: Sequence[Call], theirs: Sequence[Call], before: SummariesOf, after: SummariesOf
) -> list[tuple[Call, Call]]:
    """The calls that gave the same; then, of the others, those that were given the same and gave as many elements.

    What could be one of several is the one of the same class, then the first that is free. What gives what it is given,
    as a dropout does, belongs only to another that does.
    """
    pairs = _matched(_given_out(ours, before), _given_out(theirs, after))
    taken = {call.id for call, _ in pairs}, {other.id for _, other in pairs}
    left = [[call for call in calls if call.id not in used] for calls, used in zip((ours, theirs), taken, strict=True)]
    return pairs + _matched(_given_in(left[0], before), _given_in(left[1], after))


Row = tuple[Call, Summary, object]


def _given_out(calls: Iterable[Call], summaries_of: SummariesOf) -> list[Row]:
    rows: list[Row] = []
    for call in calls:
        given, gave = summaries_of(call)
        if gave and gave[0].size:
            rows.append((call, gave[0], bool(given) and given[0].is_like(gave[0])))
    return rows


def _given_in(calls: Iterable[Call], summaries_of: SummariesOf) -> list[Row]:
    rows: list[Row] = []
    for call in calls:
        given, gave = summaries_of(call)
        if given and given[0].size and gave:
            rows.append((call, given[0], gave[0].count))
    return rows


def _matched(ours: Iterable[Row], theirs: Sequence[Row]) -> list[tuple[Call, Call]]:
    """The calls whose summaries are alike and whose kinds are equal, each once, in order."""
    by_size = sorted(theirs, key=lambda row: (row[1].size, row[0].id))
    sizes = [row[1].size for row in by_size]
    free = {row[0].id for row in theirs}
    pairs = []
    for call, summary, kind in ours:
        start = bisect_left(sizes, summary.size * (1 - 2 * _CLOSE))
        stop = bisect_left(sizes, math.nextafter(summary.size * (1 + 2 * _CLOSE), math.inf))
        fitting = [
            other
            for other, of_other, kind_of_other in by_size[start:stop]
            if other.id in free and kind == kind_of_other and summary.is_like(of_other)
        ]
        best = min(fitting, key=lambda other: (other.class_name != call.class_name, other.id), default=None)
        if best is not None:
            pairs.append((call, best))
            free.remove(best.id)
    return pairs
