"""Rows that lie in another order in each head of one of the models, for a number of heads that makes results agree."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.results import agree, results_with, shapes_of
from fwdtrace.compare.weights.spellings import roles_of
from fwdtrace.compare.weights.units import state_of
from fwdtrace.compare.weights.weight_values import Made, State, values_of

MOST_HEADS_TRIED = 6


def in_the_right_order(
    source: State,
    first: nn.Module,
    after: Runnable,
    moves: Mapping[str, Move],
    results: Mapping[str, Tensor],
    seed: int,
    made: Made,
) -> list[Move] | None:
    """The moves under which the second model gives the results of the first, if rows lie otherwise head by head.

    The parts of a fused matrix may take turns, and what is rotated be the halves of each head or neighbours in it. All
    is tried for the numbers of heads that the models speak of.
    """
    shapes = shapes_of(state_of(after.model))
    ways = partial(_head_by_head), partial(_neighbours_apart, source), partial(_halves_as_neighbours, source)
    for way, heads in itertools.product(ways, itertools.islice(_heads_in(first, after.model), MOST_HEADS_TRIED)):
        tried = [way(move, heads) for move in moves.values()]
        if tried == [*moves.values()]:
            continue
        gave = results_with(after, seed, values_of(tried, source, shapes, made))
        if gave is None:
            return None
        if agree(results, gave):
            return tried
    return None


def _head_by_head(move: Move, heads: int) -> Move:
    if len(move.pieces) > 1 and all(piece.start is None for piece in move.pieces):
        return replace(move, heads=heads)
    if len(move.pieces) == 1 and move.pieces[0].start is not None:
        return replace(move, pieces=(replace(move.pieces[0], heads=heads),))
    return move


def _neighbours_apart(source: State, move: Move, heads: int) -> Move:
    """The rows of a query or key with every second one of a head in its first half."""
    rows = _rotated(source, move)
    if rows is None or rows % (2 * heads):
        return move
    return replace(move, pieces=_in_two(move.pieces[0], rows, rows // 2), heads=heads)


def _halves_as_neighbours(source: State, move: Move, heads: int) -> Move:
    """The rows of a query or key with those of both halves of a head in turns."""
    rows = _rotated(source, move)
    if rows is None or rows % (2 * heads):
        return move
    return replace(move, pieces=_in_two(move.pieces[0], rows, heads), heads=rows // 2)


def _rotated(source: State, move: Move) -> int | None:
    """How many rows a query or key has by itself; None if the move is of something else."""
    holder = move.target.rpartition(".")[0] or move.target
    piece = move.pieces[0]
    is_whole = len(move.pieces) == 1 and piece.start is None and move.heads is None and len(piece.names) == 1
    if not is_whole or piece.transposed or move.transposed or not roles_of(holder.rpartition(".")[2]) & {"q", "k"}:
        return None
    return len(source[piece.name]) if source[piece.name].dim() else None


def _in_two(piece: Piece, rows: int, turns: int) -> tuple[Piece, Piece]:
    """The first and the second of the parts that take so many turns."""
    half = rows // 2
    return replace(piece, start=0, stop=half, heads=turns), replace(piece, start=half, stop=rows, heads=turns)


def _heads_in(*models: nn.Module) -> Iterator[int]:
    """The numbers of heads that the modules and their configurations speak of."""
    holders = (holder for model in models for module in model.modules() for holder in (module, _config(module)))
    found = (
        value
        for holder in holders
        for name, value in vars(holder).items()
        if "head" in name.lower() and type(value) is int and value > 1
    )
    return iter(dict.fromkeys(found))


def _config(module: nn.Module) -> object:
    """The configuration that a module of transformers holds; the module itself if it has none."""
    config = vars(module).get("config", module)
    return config if hasattr(config, "__dict__") else module
