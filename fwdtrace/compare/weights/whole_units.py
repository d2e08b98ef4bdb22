"""All weights of a module of the first model for one of the second: by the last parts of their names, and by shape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from fwdtrace.compare.numbers.contents import Content
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.known import Candidate, Known, same_first
from fwdtrace.compare.weights.units import Part, State, Unit

_SPELLINGS = {"gamma": "weight", "g": "weight", "scale": "weight", "beta": "bias", "b": "bias"}


def whole_units(
    unit: Unit, parts: list[Part], state: State, given: Sequence[Content], known: Known, others: Sequence[Unit]
) -> Iterator[Candidate]:
    """All of another unit; one matrix is not all of a unit that has several."""
    for other in others:
        theirs = known.parts[other.path]
        if len(parts) == 1 < len(theirs):
            continue
        if len(parts) == len(theirs) == 1:
            moves, complete = _moves_of_part(parts[0], theirs[0]), len(unit.names) == len(other.names)
        else:
            moves, complete = _moves_by_name(unit, other, state, known)
        if moves and all(known.is_free(piece) for move in moves for piece in move.pieces):
            same = same_first(given, other.given_contents)
            yield known.candidate(unit, other, moves, complete=complete, same=same)


def _moves_of_part(part: Part, other: Part) -> tuple[Move, ...]:
    if part.rows != other.rows or math.prod(part.columns) != math.prod(other.columns):
        return ()
    return moves_of(part, [(other.weight, other.bias)])


def moves_of(part: Part, pieces: Sequence[tuple[Piece, Piece | None]]) -> tuple[Move, ...]:
    """The moves that make a matrix with its bias of pieces."""
    moves = [Move(part.weight.name, tuple(weight for weight, _ in pieces), part.weight.transposed)]
    biases = tuple(bias for _, bias in pieces if bias is not None)
    if part.bias is not None and len(biases) == len(pieces):
        moves.append(Move(part.bias.name, biases))
    return tuple(moves)


def _moves_by_name(unit: Unit, other: Unit, state: State, known: Known) -> tuple[tuple[Move, ...], bool]:
    """The weights of one unit for those of another, by their last names, or else by a shape that only one has."""
    left = {_spelling(name): full for name, full in other.names.items()}
    moves = list(_into_norms(unit, left, state, known))
    left = {spelling: full for spelling, full in left.items() if all(full != move.pieces[0].name for move in moves)}
    done = {move.target for move in moves}
    missing = []
    for name, target in unit.names.items():
        if target in done:
            continue
        if (piece := _normed(name, left, known, state[target])) is not None:
            moves.append(Move(target, (piece,)))
            left = {spelling: full for spelling, full in left.items() if full not in piece.names}
            continue
        source = left.get(_spelling(name))
        if source is not None and _fits(known.state[source], state[target]):
            moves.append(Move(target, (Piece(source),)))
            del left[_spelling(name)]
        else:
            missing.append(target)
    for target in list(missing):
        fitting = [name for name, source in left.items() if _fits(known.state[source], state[target])]
        if len(fitting) == 1 and sum(_fits(state[target], state[each]) for each in missing) == 1:
            moves.append(Move(target, (Piece(left.pop(fitting[0])),)))
            missing.remove(target)
    return tuple(moves), not missing and not left


def _normed(name: str, names: Mapping[str, str], known: Known, target: Tensor) -> Piece | None:
    """The weight by this name if it is stored as its norms and directions, as weight norm does it in both its forms."""
    if name in names:
        return None
    for norms, directions in _stored(name):
        if norms in names and directions in names and _fits(known.state[names[directions]], target):
            sizes = known.state[names[norms]].shape
            if sum(size != 1 for size in sizes) <= 1:
                return Piece(names[directions], magnitude=names[norms])
    return None


def _into_norms(unit: Unit, names: Mapping[str, str], state: State, known: Known) -> Iterator[Move]:
    """The norms and the directions of a weight that the first stores as it is."""
    for name, full in names.items():
        for norms, directions in _stored(name):
            if norms in unit.names and directions in unit.names:
                targets = unit.names[norms], unit.names[directions]
                sizes = state[targets[0]].shape
                if known.state[full].shape == state[targets[1]].shape and sum(size != 1 for size in sizes) <= 1:
                    yield Move(targets[0], (Piece(full, norms=True),))
                    yield Move(targets[1], (Piece(full),))


def _stored(name: str) -> tuple[tuple[str, str], ...]:
    """The names of the norms and of the directions of a weight, in both forms of weight norm."""
    head, dot, last = name.rpartition(".")
    inside = f"{head}{dot}parametrizations.{last}.original"
    return (f"{inside}0", f"{inside}1"), (f"{name}_g", f"{name}_v")


def _spelling(name: str) -> str:
    head, dot, last = name.rpartition(".")
    last = last.removesuffix("_l0")
    return head + dot + _SPELLINGS.get(last, last)


def _fits(source: Tensor, target: Tensor) -> bool:
    return [size for size in source.shape if size != 1] == [size for size in target.shape if size != 1]
