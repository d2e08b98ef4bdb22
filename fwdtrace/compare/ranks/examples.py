"""Which rank has which example of the run of one process, and which ranks work on the same examples together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.ranks.pieces import RankPiece
from fwdtrace.trace.digests import digest_of_bytes


@dataclass(frozen=True)
class Examples:
    """The examples of the reference among groups of ranks, each of which works on the same ones.

    `rows` has for each example of the reference the group and the row there, None if no rank has it. It is None itself
    where every rank has the whole batch. `lengths` says how many rows each group has, `spare` which ranks have rows
    that the reference does not have or that others have too.
    """

    groups: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[int, int] | None, ...] | None = None
    lengths: tuple[int, ...] = ()
    spare: tuple[int, ...] = ()

    @property
    def missing(self) -> int:
        """How many examples of the reference no rank has."""
        return sum(place is None for place in self.rows or ())

    def extra(self, group: int) -> int:
        """How many rows of a group the reference does not have, or are those of others."""
        return self.lengths[group] - sum(place is not None and place[0] == group for place in self.rows or ())

    def group_of(self, rank: int) -> int:
        """The group of a rank."""
        return next(number for number, group in enumerate(self.groups) if rank in group)

    def shape(self, shape: Sequence[int], group: int) -> list[int] | None:
        """What a group has of a tensor of this shape, if its first dimension holds the examples or rows for each."""
        if self.rows is None:
            return list(shape)
        count = len(self.rows)
        if not shape or not count or shape[0] % count:
            return None
        return [self.lengths[group] * (shape[0] // count), *shape[1:]]

    def part(self, whole: Any, group: int) -> Any:
        """What a group should have of an array; None if it has rows that the array does not have."""
        if self.rows is None:
            return whole
        import numpy

        block = len(whole) // len(self.rows)
        own = {place[1]: row for row, place in enumerate(self.rows) if place is not None and place[0] == group}
        if len(own) < self.lengths[group]:
            return None
        return numpy.concatenate([whole[own[row] * block : (own[row] + 1) * block] for row in sorted(own)])

    def together(self, shape: Sequence[int], parts: Sequence[Any]) -> Any:
        """The rows of all groups where the reference has them; those that no rank has are NaN, or 0."""
        if self.rows is None:
            return parts[0]
        import numpy

        block = shape[0] // len(self.rows)
        result = numpy.full(shape, numpy.nan if parts[0].dtype.kind == "f" else 0, dtype=parts[0].dtype)
        for row, place in enumerate(self.rows):
            if place is not None:
                group, own = place
                result[row * block : (row + 1) * block] = parts[group][own * block : (own + 1) * block]
        return result


def examples_of(reference: SavedRun, ranks: Sequence[SavedRun]) -> Examples:
    """Which ranks have which examples, by the inputs of the model; one group of all where that cannot be known."""
    wanted, have = _rows(reference), [_rows(side) for side in ranks]
    if not wanted or not all(have) or all(rows == wanted for rows in have):
        return Examples((tuple(range(len(ranks))),))
    groups = _groups(have)
    places: dict[bytes, list[tuple[int, int]]] = {}
    for number, group in enumerate(groups):
        for row, key in enumerate(have[group[0]]):
            places.setdefault(key, []).append((number, row))
    found: list[tuple[int, int] | None] = []
    for key in wanted:
        free = places.get(key)
        found.append(free.pop(0) if free else None)
    spare = {group for left in places.values() for group, _ in left}
    alike = len({len(group) for group in groups}) == 1 and len(groups) > 1  # ranks of tensor parallelism, as planned
    twice = [rank for group in groups if not alike for rank in group[1:]]
    return Examples(
        groups,
        tuple(found),
        tuple(len(have[group[0]]) for group in groups),
        tuple(sorted({*twice, *(rank for number in spare for rank in groups[number])})),
    )


def examples_together(ranks: Sequence[SavedRun]) -> Examples:
    """The examples of all ranks one after the other; one group of all ranks where they cannot be known."""
    have = [_rows(side) for side in ranks]
    groups = _groups(have) if all(have) else ()
    if len(groups) < 2:
        return Examples((tuple(range(len(ranks))),))
    lengths = tuple(len(have[group[0]]) for group in groups)
    rows = tuple((number, row) for number, length in enumerate(lengths) for row in range(length))
    return Examples(groups, rows, lengths)


def _groups(have: Sequence[Sequence[bytes]]) -> tuple[tuple[int, ...], ...]:
    """The ranks that have the same examples, in order of the first of each group."""
    by_rows: dict[tuple[bytes, ...], list[int]] = {}
    for rank, rows in enumerate(have):
        by_rows.setdefault(tuple(rows), []).append(rank)
    return tuple(map(tuple, sorted(by_rows.values())))


def _rows(side: SavedRun) -> list[bytes]:
    """A digest of each example, of all inputs of the model that have as many rows as the first."""
    roots = side.trace.children()
    if not roots:
        return []
    arrays = [
        RankPiece(side.values, number).array() for number in side.values.side(roots[0], "inputs") if number is not None
    ]
    if not arrays or any(array is None or array.ndim == 0 for array in arrays):
        return []
    count = len(arrays[0])
    return [
        digest_of_bytes(b"".join(array[row].tobytes() for array in arrays if len(array) == count))
        for row in range(count)
    ]
