"""Settled: where the weights of the second model come from, as runs of it find that for its units."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weights.known import known_of
from fwdtrace.compare.weights.left_over import left_over
from fwdtrace.compare.weights.moving import move_while_running
from fwdtrace.compare.weights.pair import Pair, run_copy
from fwdtrace.compare.weights.units import Unit, state_of, units_by_structure, units_of
from fwdtrace.compare.weights.uses_outside import Form
from fwdtrace.compare.weights.weight_values import State

Moves = dict[str, Move]


@dataclass(frozen=True)
class Settled:
    """The moves so far, what is ambiguous, and the forms of weights that were used without their unit.

    `units` are those of the second model. The moves of the names that `stay` are not looked for as it runs. `agrees`
    says whether the second model is known to give with the moves what the first gave.
    """

    units: list[Unit]
    moves: Moves
    stay: frozenset[str]
    ambiguous: tuple[str, ...] = ()
    outside: frozenset[Form] = frozenset()
    agrees: bool = False


class _OtherUnitsError(Exception):
    """The units of a model are not those that its structure says."""


def settled_at_first(pair: Pair) -> Settled:
    """What runs of the second model find that begin with the weights that are in no unit.

    Where the structure of the model says what its units must be, they are learnt as it runs with the moved weights; if
    they are others, and where it does not say so, it runs once more before that. If parameters are missing, it runs
    without regard to multiples.
    """
    theirs = units_by_structure(pair.after.model) if not pair.given else None
    found = None
    if theirs is not None:
        with contextlib.suppress(_OtherUnitsError):
            found = settled(pair, theirs, pair.given, _start(pair, theirs), only_if_seen=True)
    if found is None:
        theirs = units_of(run_copy(pair.after, pair.seed), pair.after.model)
        found = settled(pair, theirs, pair.given, _start(pair, theirs))
    if not pair.lacks_any(found.moves):
        return found
    other = settled(pair, found.units, pair.given, _start(pair, found.units), keeps_scale=False)
    return other if len(other.moves) > len(found.moves) else found


def settled_anew(pair: Pair, found: Settled, new: Mapping[str, Move]) -> Settled:
    """What was found with new moves in it, and whether the results agree then.

    The moves that stay are as before but for the new ones; those of other units are found anew.
    """
    stay = {name: move for name, move in found.moves.items() if name in found.stay}
    start = {**stay, **new, **pair.given}
    moves = {**found.moves, **settled(pair, found.units, start, start).moves, **start}
    return replace(found, moves=moves, agrees=pair.agrees(moves))


def settled(
    pair: Pair,
    theirs: list[Unit],
    stay: Mapping[str, Move],
    start: Mapping[str, Move],
    *,
    keeps_scale: bool = True,
    only_if_seen: bool = False,
) -> Settled:
    """The moves that runs of the second model find; in a second run, what was left over at first is in its place.

    With `only_if_seen`, `_OtherUnitsError` if the units are not those that are seen.
    """
    missing = [unit for unit in theirs if not all(name in stay for name in unit.names.values())]
    for _ in range(2):
        known = known_of(pair.ours, pair.before.model, pair.source, pair.made)
        found = move_while_running(known, pair.after, missing, pair.seed, start, keeps_scale=keeps_scale)
        if only_if_seen and not found.has_seen_all:
            raise _OtherUnitsError
        moves = {**found.moves, **stay}
        more = left_over(pair.source, state_of(pair.after.model), moves)
        moves |= more
        if all(start.get(name) == move for name, move in more.items()):
            break
        start = {**stay, **more}
    return Settled(theirs, moves, frozenset(stay), tuple(found.ambiguous), found.outside)


def _start(pair: Pair, theirs: list[Unit]) -> Moves:
    """The moves of the weights that are in no unit, with which the second model begins to run."""
    ours = _outside(pair.source, pair.ours)
    return {**pair.given, **left_over(ours, _outside(pair.target, theirs), pair.given)}


def _outside(state: State, units: Iterable[Unit]) -> State:
    """The weights that are in no unit."""
    inside = {name for unit in units for name in unit.names.values()}
    return {name: tensor for name, tensor in state.items() if name not in inside}
