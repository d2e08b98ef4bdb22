"""The weights that no module that ran has got: they go by a shape that few have, in order and by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.spellings import likeness, template
from fwdtrace.compare.weights.stacked import stacked
from fwdtrace.compare.weights.weight_values import State

_CLEAR = 3.0
"""The likeness from which on two names speak of the same."""


def left_over(source: State, target: State, moves: Mapping[str, Move]) -> dict[str, Move]:
    """Moves for the weights of the second model that have none; what could be one of several gets none.

    Of one shape, a name must be like one other alone, or the numbers are equal as they are. Where as many are left then
    on both sides under one name in all layers, they go in order; names in all layers may be like each other as well.
    """
    found: dict[str, Move] = {}
    for with_ones in (True, False):
        used = {name for move in (*moves.values(), *found.values()) for piece in move.pieces for name in piece.names}
        ours = _by_shape({name: tensor for name, tensor in source.items() if name not in used}, with_ones)
        left = {name: tensor for name, tensor in target.items() if name not in moves and name not in found}
        for shape, wanted in _by_shape(left, with_ones).items():
            found |= _paired(wanted, ours.get(shape, []), source, target)
    found |= _matrices(source, target, {**moves, **found})
    used = {name for move in (*moves.values(), *found.values()) for piece in move.pieces for name in piece.names}
    free = [name for name in _each_once([*source], source) if name not in used]
    return found | stacked(source, target, free, [name for name in target if name not in moves and name not in found])


def _matrices(source: State, target: State, moves: Mapping[str, Move]) -> dict[str, Move]:
    """Moves for matrices that the first has the other way around, or as the weight of a convolution.

    Each must be the only one of its shape that is left on either side. Of a square one nobody can say how it is stored.
    """
    used = {name for move in moves.values() for piece in move.pieces for name in piece.names}
    free = [name for name in _each_once([*source], source) if name not in used and source[name].dim() > 1]
    left = [name for name, tensor in target.items() if name not in moves and tensor.dim() == 2]
    found = {}
    for name in left:
        rows, columns = target[name].shape
        fitting = [old for old in free if sorted(_as_matrix(source[old])) == sorted((rows, columns))]
        alone = sum(sorted(target[other].shape) == sorted((rows, columns)) for other in left) == 1
        if rows != columns and alone and len(fitting) == 1:
            transposed = _as_matrix(source[fitting[0]]) != (rows, columns)
            found[name] = Move(name, (Piece(fitting[0]),), transposed, proof="place")
    return found


def _as_matrix(tensor: Tensor) -> tuple[int, int]:
    return len(tensor), tensor.numel() // max(len(tensor), 1)


def _by_shape(state: State, with_ones: bool) -> dict[tuple[object, ...], list[str]]:
    """The names by the shape without ones, or of several dimensions with ones, and by whether numbers are floating."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in state.items():
        shape = tuple(size for size in tensor.shape if with_ones or size != 1)
        if not with_ones or len(shape) > 1:
            names.setdefault((tensor.is_floating_point(), *shape), []).append(name)
    return names


def _paired(wanted: list[str], fitting: list[str], source: State, target: State) -> dict[str, Move]:
    free = _each_once(fitting, source)
    found = _in_all_layers(wanted, free)
    for pairs in (_one_by_one, _in_order):
        used = {move.pieces[0].name for move in found.values()}
        left = [name for name in wanted if name not in found]
        found |= pairs(left, [name for name in free if name not in used], source, target)
    return found


def _each_once(names: list[str], state: State) -> list[str]:
    """The names without those of a tensor that has another one before."""
    found: dict[tuple[int, object], str] = {}
    for name in names:
        found.setdefault((state[name].data_ptr(), state[name].shape), name)
    return list(found.values())


def _in_all_layers(wanted: list[str], free: list[str]) -> dict[str, Move]:
    """Those that have several names in all layers, each of which is like one other alone that as many have."""
    ours, theirs = _by_template(free), _by_template(wanted)
    best = {name: _clearest(name, list(ours)) for name in theirs} if len(theirs) > 1 else {}
    pairs = [(theirs[name], ours[other]) for name, other in best.items() if other and _is_once(other, best)]
    return {name: move for names, others in pairs if len(names) > 1 for name, move in _moves(names, others).items()}


def _is_once(name: str, best: dict[str, str | None]) -> bool:
    return list(best.values()).count(name) == 1


def _in_order(wanted: list[str], free: list[str], source: State, target: State) -> dict[str, Move]:
    """All that are left, if both sides have one name for them in all layers."""
    alike = len(_by_template(wanted)) == len(_by_template(free)) == 1
    return _moves(wanted, free) if alike else {}


def _moves(wanted: list[str], others: list[str]) -> dict[str, Move]:
    """The moves in order, if there are as many."""
    if len(wanted) != len(others):
        return {}
    return {name: Move(name, (Piece(old),), proof="place") for name, old in zip(wanted, others, strict=True)}


def _by_template(names: list[str]) -> dict[str, list[str]]:
    """The names by what each is called in every layer, in both directions."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(template(name), []).append(name)
    return found


def _one_by_one(wanted: list[str], free: list[str], source: State, target: State) -> dict[str, Move]:
    """Those that are like one other alone, or equal to it as they are."""
    found: dict[str, Move] = {}
    for name in wanted:
        best = next((old for old in free if _equal(source[old], target[name])), None) or _clearest(name, free)
        if best is not None:
            found[name] = Move(name, (Piece(best),), proof="name")
            free.remove(best)
    return found


def _clearest(name: str, others: list[str]) -> str | None:
    """The only one of the others that speaks of the same."""
    scores = sorted(((likeness(name, other), other) for other in others), reverse=True)
    if not scores or scores[0][0] < _CLEAR or (len(scores) > 1 and scores[0][0] < scores[1][0] + 0.2):
        return None
    return scores[0][1]


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.is_meta or one.numel() < 2:
        return False
    return bool(torch.equal(one.reshape(-1), other.reshape(-1)))
