"""The numbers that were kept of two runs, measured against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fwdtrace.compare.agreement import Distances
from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, SAME, Distance, distance_of_stats, furthest
from fwdtrace.compare.numbers.tensors import dense, distance_of_tensors, dtype_name
from fwdtrace.recorder.measures.keeper import Kept, Sides, digest_of
from fwdtrace.recorder.measures.values import stats_of
from fwdtrace.trace import Call, Stats


class KeptNumbers:
    """What was kept of the calls of two runs, by their ids; nothing is known of a call that kept nothing.

    In a port, a call may give more tensors than its partner, and those that only one of the two has are left out.
    With `batch`, the second run had that many times the examples, the same ones first, and only these are compared.
    `rounding` measures by how much what a call of the first run gave is rounded; twice as much is rounding as well.
    """

    def __init__(
        self,
        before: Mapping[int, Sides],
        after: Mapping[int, Sides],
        *,
        is_port: bool = False,
        batch: int = 1,
        rounding: Callable[[Call], float] | None = None,
    ) -> None:
        self._before = before
        self._after = after
        self._is_port = is_port
        self._batch = batch
        self._rounding = rounding
        self._known: dict[tuple[int, int], tuple[Kept, Kept, Distance]] = {}
        """By identity, as what one call gave is what the next is given."""

    def distances_of(self, call: Call, other: Call) -> Distances:
        """How far the inputs and the outputs of two calls are apart; None for what cannot be compared."""
        ours, theirs = self._before.get(call.id), self._after.get(other.id)
        if ours is None or theirs is None:
            return None, None
        inputs, outputs = self._distance(ours[0], theirs[0]), self._distance(ours[1], theirs[1])
        if self._rounding is None or outputs is None or outputs.close or outputs.absolute is None:
            return inputs, outputs
        return inputs, replace(outputs, close=outputs.absolute <= 2 * self._rounding(call))

    def _distance(self, ours: tuple[Kept | None, ...], theirs: tuple[Kept | None, ...]) -> Distance | None:
        if self._is_port:
            ours, theirs = (tuple(kept for kept in tensors if kept) for tensors in (ours, theirs))
        elif len(ours) != len(theirs):
            return None
        pairs = [
            (one, self._same_examples(one, other)) for one, other in zip(ours, theirs, strict=False) if one and other
        ]
        if any(one.shape != other.shape for one, other in pairs):
            return None
        return furthest(self._distance_of_two(one, other) for one, other in pairs)

    def _distance_of_two(self, one: Kept, other: Kept) -> Distance:
        key = id(one), id(other)
        if key not in self._known:
            self._known[key] = one, other, _distance_of_kept(one, other)
        return self._known[key][2]

    def _same_examples(self, one: Kept, other: Kept) -> Kept:
        """The second tensor as far as it is of the examples that the first has too."""
        if self._batch == 1 or other.tensor is None or not one.shape:
            return other
        if other.shape != (self._batch * one.shape[0], *one.shape[1:]):
            return other
        return Kept(one.shape, other.dtype, other.tensor[: one.shape[0]])


def _distance_of_kept(one: Kept, other: Kept) -> Distance:
    """How far two tensors of one shape are apart: by their elements, or else by their digests and statistics."""
    if one.tensor is not None and other.tensor is not None:
        return distance_of_tensors(one.tensor, other.tensor)
    if one.dtype == other.dtype and _digest(one) == _digest(other):
        return SAME
    stats, other_stats = _stats(one), _stats(other)
    if stats is None or other_stats is None:
        return NOT_COMPARABLE
    return distance_of_stats(stats, other_stats, (dtype_name(one.dtype), dtype_name(other.dtype)))


def _digest(kept: Kept) -> bytes:
    return kept.digest if kept.tensor is None else digest_of(dense(kept.tensor))


def _stats(kept: Kept) -> Stats | None:
    return kept.stats if kept.tensor is None else stats_of(kept.tensor)
