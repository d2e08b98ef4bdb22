"""What the moves of a WeightMap make of the weights of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fwdtrace.compare.weight_map import Move, Piece

State = Mapping[str, Tensor]
Made = MutableMapping[Move, Tensor]
"""Weights that were made before, by what made them: those of a large model take a while to be turned around."""


def value_of(move: Move, source: State, shape: Sequence[int]) -> Tensor:
    """The weight that a move makes; RuntimeError if it cannot have this shape."""
    parts = [_piece(source, piece, shape) for piece in move.pieces]
    if move.heads is not None:
        whole = torch.cat([part.reshape(move.heads, -1, *part.shape[1:]) for part in parts], 1).flatten(0, 1)
    else:
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    if move.transposed:
        whole = whole.flatten(1).t()
    return whole.reshape(tuple(shape))


def made_once(move: Move, source: State, shape: Sequence[int], made: Made) -> Tensor:
    """The weight that a move makes, in order in memory; it is made only if it was not before."""
    key = replace(move, proof="", shape=tuple(shape))
    if key not in made:
        made[key] = value_of(move, source, shape).contiguous()
    return made[key]


def values_of(
    moves: Iterable[Move], source: State, shapes: Mapping[str, Sequence[int]], made: Made | None = None
) -> dict[str, Tensor]:
    """The weights that moves make, by their names; those that cannot be made are not there.

    Where a weight is moved as it is, it is the first model's own memory.
    """
    made = {} if made is None else made
    values: dict[str, Tensor] = {}
    for move in moves:
        if move.target in shapes and all(name in source for piece in move.pieces for name in piece.names):
            try:
                values[move.target] = made_once(move, source, shapes[move.target], made)
            except (RuntimeError, IndexError):  # other shapes than it was made for
                continue
    return values


def _piece(source: State, piece: Piece, shape: Sequence[int]) -> Tensor:
    tensor = source[piece.name]
    if piece.norms:
        return _norms(tensor, shape)
    if piece.magnitude is not None:
        tensor = _with_norms(tensor, source[piece.magnitude])
    if piece.stacked:
        tensor = tensor.flatten(0, -2)
    if piece.transposed:
        tensor = tensor.t()
    if piece.start is None or piece.stop is None:
        return tensor
    if piece.heads is not None:
        matrices = len(tensor) // (piece.stop - piece.start)
        tensor = tensor.reshape(piece.heads, matrices, -1, *tensor.shape[1:]).transpose(0, 1).flatten(0, 2)
    return tensor[piece.start : piece.stop]


def _with_norms(directions: Tensor, norms: Tensor) -> Tensor:
    """The weight with these norms, over all dimensions along which there is one norm alone."""
    return directions * (norms / _norms(directions, norms.shape))


def _norms(directions: Tensor, shape: Sequence[int]) -> Tensor:
    alone = [place for place, size in enumerate(shape) if size == 1]
    sizes: Tensor = torch.linalg.vector_norm(directions, dim=alone or None, keepdim=bool(alone))
    return sizes
