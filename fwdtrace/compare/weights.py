"""The weights of one model into another: by name where all have one, else by running both and checking each module."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from fwdtrace.compare.candidates import known_of, used_names
from fwdtrace.compare.moving import move_while_running
from fwdtrace.compare.name_parts import likeness, roles_of, template
from fwdtrace.compare.names import renamed
from fwdtrace.compare.runs import Runnable
from fwdtrace.compare.units import State, state_of, units_of
from fwdtrace.compare.weight_map import Move, Piece, WeightMap
from fwdtrace.trace.text import first_few

MOST_NAMED = 3
MAX_BYTES = 2**30


@dataclass(frozen=True)
class Moved:
    """The map by which weights were moved, and how many the second model has."""

    map: WeightMap
    of: int

    @property
    def text(self) -> str:
        """What was moved and what was not, in words."""
        moves = self.map.moves
        text = f"{len(moves)} of {self.of} weights of the second are copies of the first's"
        checked = sum(move.proof == "run" for move in moves)
        if checked:
            text += f", {checked} of them checked by the same input through both modules"
        text += _listed("left as they were", self.map.left) + _listed("of the first not used", self.map.unused)
        return text + _listed("could be others as well", self.map.ambiguous)


def copy_weights(before: Runnable, after: Runnable, maps: Sequence[str] = (), seed: int = 0) -> Moved:
    """Copy the parameters and buffers of the first model into the second; say what was copied and what was not.

    If every weight of the second has a namesake of its shape, after the maps, they go by name. Else copies of both
    models run: each module of the second that holds weights is given those of the modules of the first that are given
    the same, or that run in the same place under a like name, and is checked with them. What is left goes by its name
    or by a shape that nothing else has.
    """
    source, target = state_of(before.model), state_of(after.model)
    moves = _by_name(source, target, maps)
    ambiguous: dict[str, list[str]] = {}
    if len(moves) < len(target):
        moves = {name: move for name, move in moves.items() if maps and name not in source}
        try:
            ours, _ = units_of(before, seed, MAX_BYTES // 2)
            theirs, _ = units_of(after, seed, MAX_BYTES // 2)
            found = move_while_running(known_of(ours, before.model, source), after, theirs, seed)
        except Exception:  # a model that cannot be copied; what it raises is said when it is compared
            moves = _by_name(source, target, maps)
        else:
            moves = {**found.moves, **moves}
            ambiguous = found.ambiguous
    moves |= _left_over(source, target, moves)
    return Moved(apply(tuple(moves.values()), before, after, ambiguous), len(target))


def apply(
    moves: Iterable[Move], before: Runnable, after: Runnable, ambiguous: Mapping[str, Sequence[str]] = {}
) -> WeightMap:
    """Write the moved weights into the second model; a move that does not fit is left out."""
    source, target = state_of(before.model), state_of(after.model)
    done: dict[str, Move] = {}
    with torch.no_grad():
        values = {}
        for move in moves:
            if move.target in target and all(piece.name in source for piece in move.pieces):
                try:
                    values[move.target] = move.value(source, target[move.target].shape).clone()
                except RuntimeError:  # other shapes than it was made for
                    continue
                done[move.target] = move
        for name, value in values.items():
            target[name].copy_(value)
    used = used_names(done)
    shared = {id_of(target[name]) for name in done}
    left = tuple(name for name in target if name not in done and id_of(target[name]) not in shared)
    tied = [name for name in target if name not in done and id_of(target[name]) in shared]
    rows = [*done.values(), *(Move(name, _pieces_of(done, target, name), proof="name") for name in tied)]
    used_ids = {id_of(source[name]) for name in used}
    unused = tuple(name for name in source if name not in used and id_of(source[name]) not in used_ids)
    return WeightMap(tuple(rows), left, unused, tuple(name for name in ambiguous))


def id_of(tensor: torch.Tensor) -> tuple[int, tuple[int, ...]]:
    """What all names of one tensor have in common."""
    return tensor.data_ptr(), tuple(tensor.shape)


def _pieces_of(done: Mapping[str, Move], target: State, name: str) -> tuple[Piece, ...]:
    return next(move.pieces for other, move in done.items() if id_of(target[other]) == id_of(target[name]))


def _by_name(source: State, target: State, maps: Sequence[str]) -> dict[str, Move]:
    """The moves of the weights of the second model that have a namesake of their shape in the first."""
    old_names = renamed({name: name for name in source}, maps)
    return {
        name: Move(name, (Piece(old_names[name]),))
        for name, tensor in target.items()
        if name in old_names and source[old_names[name]].shape == tensor.shape
    }


def _left_over(source: State, target: State, moves: Mapping[str, Move]) -> dict[str, Move]:
    """What no module that ran has got: by a shape that few have, in order and by name; or equal as it is."""
    used = used_names(moves)
    ours = [name for name in source if name not in used]
    theirs = [name for name in target if name not in moves]
    found: dict[str, Move] = {}
    shapes = {name: tuple(size for size in target[name].shape if size != 1) for name in theirs}
    for shape in dict.fromkeys(shapes.values()):
        wanted = [name for name in theirs if shapes[name] == shape]
        for kind in (True, False):
            some = [name for name in wanted if target[name].is_floating_point() == kind]
            fitting = [
                name
                for name in ours
                if tuple(size for size in source[name].shape if size != 1) == shape
                and source[name].is_floating_point() == kind
            ]
            found |= _paired(some, fitting, source, target)
    return found


def _paired(wanted: list[str], fitting: list[str], source: State, target: State) -> dict[str, Move]:
    """Weights of one shape: the only ones, those of one kind in order, or those that only names tell apart."""
    if len(wanted) == len(fitting):
        kinds = [len({template(name) for name in names}) for names in (wanted, fitting)]
        if len(wanted) == 1 or kinds == [1, 1]:
            return {name: Move(name, (Piece(old),), proof="place") for name, old in zip(wanted, fitting, strict=True)}
    found: dict[str, Move] = {}
    free = list(fitting)
    for name in wanted:
        equal = next((old for old in free if _equal(source[old], target[name])), None)
        scores = sorted(((likeness(name, old), -place, old) for place, old in enumerate(free)), reverse=True)
        is_clear = bool(scores) and scores[0][0] >= 3 and (len(scores) == 1 or scores[0][0] > scores[1][0] + 0.2)
        best = equal if equal is not None and math.prod(target[name].shape) > 1 else None
        if best is None and is_clear:
            best = scores[0][2]
        if best is not None and (best == equal or roles_of(name) or template(name) == template(best)):
            found[name] = Move(name, (Piece(best),), proof="name")
            free.remove(best)
    return found


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and not one.is_meta and bool(torch.equal(one.reshape(-1), other.reshape(-1)))


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"; {len(names)} {what}: {first_few(list(names), MOST_NAMED)}"
