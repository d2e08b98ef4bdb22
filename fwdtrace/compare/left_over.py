"""The weights that no module that ran has got: they go by a shape that few have, in order and by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fwdtrace.compare.name_parts import likeness, template
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weight_values import State

_CLEAR = 3.0
"""The likeness from which on two names speak of the same."""


def left_over(source: State, target: State, moves: Mapping[str, Move]) -> dict[str, Move]:
    """Moves for the weights of the second model that have none; what could be one of several gets none.

    Where as many of one shape are left on both sides, and each side has one name for them in all layers, they go in
    order. Else a name must be like one other alone, or the numbers are equal as they are.
    """
    used = {piece.name for move in moves.values() for piece in move.pieces}
    ours = _by_shape({name: tensor for name, tensor in source.items() if name not in used})
    theirs = _by_shape({name: tensor for name, tensor in target.items() if name not in moves})
    found: dict[str, Move] = {}
    for shape, wanted in theirs.items():
        found |= _paired(wanted, ours.get(shape, []), source, target)
    return found


def _by_shape(state: State) -> dict[tuple[object, ...], list[str]]:
    """The names by the shape without ones, and by whether the numbers are floating."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in state.items():
        key = (tensor.is_floating_point(), *(size for size in tensor.shape if size != 1))
        names.setdefault(key, []).append(name)
    return names


def _paired(wanted: list[str], fitting: list[str], source: State, target: State) -> dict[str, Move]:
    if len(wanted) == len(fitting) and all(len({template(name) for name in names}) == 1 for names in (wanted, fitting)):
        return {name: Move(name, (Piece(old),), proof="place") for name, old in zip(wanted, fitting, strict=True)}
    found: dict[str, Move] = {}
    free = list(fitting)
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
