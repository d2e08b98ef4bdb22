"""Weights that have none, or those of another holder than in all other layers, get what these have in theirs.

Where one model leaves out a layer, the next may be given what that was given: by that alone both fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weights.left_over import left_over
from fwdtrace.compare.weights.weight_values import State

_INDEX = re.compile(r"(?<![^.])\d+(?![^.])")


def as_in_other_layers(moves: Mapping[str, Move], source: State, target: State) -> dict[str, Move]:
    """The moves, with those that are changed or added so that each comes from where it does in all other layers.

    What a weight gets by that must be free, or have gone elsewhere without a check, and more must be moved in the end.
    """
    layers: dict[str, list[Move]] = {}
    for move in moves.values():
        layers.setdefault(_in_any_layer(move.target), []).append(move)
    used = {name for move in moves.values() if move.proof == "run" for name in _names(move)}
    found: dict[str, Move] = {}
    for name in target:
        others = [other for other in layers.get(_in_any_layer(name), ()) if other.target != name]
        fitting = _as_others(others, name)
        if fitting is None or (name in moves and _names(moves[name]) == _names(fitting)):
            continue
        fits = target[name].shape == target[others[0].target].shape and all(
            each in source and source[each].shape == source[old].shape
            for each, old in zip(_names(fitting), _names(others[0]), strict=True)
        )
        if fits and not used.intersection(_names(fitting)):
            found[name] = fitting
            used.update(_names(fitting))
    taken = {name for move in found.values() for name in _names(move)}
    left = {name: move for name, move in moves.items() if not taken.intersection(_names(move))}
    changed = {**left, **found}
    changed |= left_over(source, target, changed)
    return changed if len(changed) > len(moves) else dict(moves)


def _as_others(others: Sequence[Move], name: str) -> Move | None:
    """The move of a weight as the others go in their layers; None if they do not all go alike."""
    indices = _INDEX.findall(name)
    if not others or not indices:
        return None
    for move in others:
        if any(_INDEX.findall(each) != _INDEX.findall(move.target) for each in _names(move)):
            return None
    alike = {tuple(map(_in_any_layer, _names(move))) for move in others}
    if len(alike) > 1:
        return None
    pieces = tuple(replace(piece, name=_in_layer(piece.name, indices)) for piece in others[0].pieces)
    return replace(others[0], target=name, pieces=pieces, proof="name") if _are_plain(others) else None


def _are_plain(moves: Iterable[Move]) -> bool:
    """Whether all are made of weights as they are, and of nothing besides."""
    return all(len(piece.names) == 1 and piece.start is None for move in moves for piece in move.pieces)


def _names(move: Move) -> list[str]:
    return [name for piece in move.pieces for name in piece.names]


def _in_any_layer(name: str) -> str:
    return _INDEX.sub("#", name)


def _in_layer(name: str, indices: Sequence[str]) -> str:
    left = iter(indices)
    return _INDEX.sub(lambda _: next(left), name)
