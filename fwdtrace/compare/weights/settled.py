"""The moves that runs of the second model find for its units, which are learnt in the first of them or before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from fwdtrace.compare.two_models.light_copy import light_copy
from fwdtrace.compare.two_models.recorded import MAX_BYTES, Recorded, Runnable, recorded
from fwdtrace.compare.two_models.watched import not_fused
from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weights.known import known_of
from fwdtrace.compare.weights.left_over import left_over
from fwdtrace.compare.weights.moving import move_while_running
from fwdtrace.compare.weights.units import Unit, state_of, units_by_structure, units_of
from fwdtrace.compare.weights.uses_outside import Form
from fwdtrace.compare.weights.weight_values import Made, State

Moves = dict[str, Move]


@dataclass(frozen=True)
class Settled:
    """The moves that were found, what is ambiguous, and the forms of weights that were used without their unit."""

    moves: Moves
    ambiguous: Iterable[str]
    outside: frozenset[Form]


class _OtherUnitsError(Exception):
    """The units of a model are not those that its structure says."""


def settled_at_first(
    source: State, before: Runnable, after: Runnable, ours: list[Unit], given: Moves, seed: int, made: Made
) -> tuple[list[Unit], Moves, Settled]:
    """The units of the second model, the moves with which its runs begin, and what these find.

    Where the structure of the model says what its units must be, they are learnt as it runs with the moved weights; if
    they are others, and where it does not say so, it runs once more before that.
    """
    theirs = units_by_structure(after.model) if not given else None
    if theirs is not None:
        start = _start(source, after, (ours, theirs), given)
        with contextlib.suppress(_OtherUnitsError):
            found = settled(source, before, after, (ours, theirs), given, start, seed, made, only_if_seen=True)
            return theirs, start, found
    theirs = units_of(run_copy(after, seed), after.model)
    start = _start(source, after, (ours, theirs), given)
    return theirs, start, settled(source, before, after, (ours, theirs), given, start, seed, made)


def settled(
    source: State,
    before: Runnable,
    after: Runnable,
    units: tuple[list[Unit], list[Unit]],
    given: Moves,
    start: Moves,
    seed: int,
    made: Made,
    *,
    keeps_scale: bool = True,
    only_if_seen: bool = False,
) -> Settled:
    """The moves that runs of the second model find; in a second run, what was left over at first is in its place.

    With `only_if_seen`, `_OtherUnitsError` if the units are not those that are seen.
    """
    for _ in range(2):
        known = known_of(units[0], before.model, source, made)
        found = move_while_running(known, after, without(units[1], given), seed, start, keeps_scale=keeps_scale)
        if only_if_seen and not found.has_seen_all:
            raise _OtherUnitsError
        moves = {**found.moves, **given}
        more = left_over(source, state_of(after.model), moves)
        moves |= more
        if all(start.get(name) == move for name, move in more.items()):
            break
        start = {**given, **more}
    return Settled(moves, found.ambiguous, found.outside)


def _start(source: State, after: Runnable, units: tuple[list[Unit], list[Unit]], given: Moves) -> Moves:
    """The moves of the weights that are in no unit, with which the second model begins to run."""
    ours, theirs = (_outside(state, each) for state, each in zip((source, state_of(after.model)), units, strict=True))
    return {**given, **left_over(ours, theirs, given)}


def run_copy(runnable: Runnable, seed: int, *, ops: bool = False) -> Recorded:
    """The run of a copy, in which torch's fused layers run as the modules that they are made of."""
    model, args, kwargs = light_copy(runnable.model, runnable.args, runnable.kwargs)
    with not_fused():
        return recorded(Runnable(model, args, kwargs), seed, MAX_BYTES // 2, ops=ops)


def _outside(state: State, units: Iterable[Unit]) -> State:
    """The weights that are in no unit."""
    inside = {name for unit in units for name in unit.names.values()}
    return {name: tensor for name, tensor in state.items() if name not in inside}


def without(units: list[Unit], moves: Moves) -> list[Unit]:
    """The units that have not all of their weights by now."""
    return [unit for unit in units if not all(name in moves for name in unit.names.values())]
