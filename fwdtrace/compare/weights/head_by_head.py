"""Rows that lie in another order in each head of one of the models, for a number of heads that makes results agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from torch import nn

from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.pair import Pair
from fwdtrace.compare.weights.settled import Settled
from fwdtrace.compare.weights.spellings import holder_of, roles_of
from fwdtrace.compare.weights.weight_values import State

MOST_HEADS_TRIED = 6


def head_by_head(pair: Pair, found: Settled) -> Settled:
    """What was found with rows in another order head by head, if the second then gives the results of the first.

    The parts of a fused matrix may take turns, and what is rotated be the halves of each head or neighbours in it. All
    is tried for the numbers of heads that the models speak of.
    """
    ways: tuple[Callable[[Move, int], Move], ...]
    ways = _in_turns, partial(_neighbours_apart, pair.source), partial(_halves_as_neighbours, pair.source)
    numbers = itertools.islice(_heads_in(pair.before.model, pair.after.model), MOST_HEADS_TRIED)
    for way, heads in itertools.product(ways, numbers):
        moves = {name: way(move, heads) for name, move in found.moves.items()}
        if moves == found.moves:
            continue
        if not pair.has_time:
            break
        if pair.agrees(moves):
            return replace(found, moves=moves, agrees=True)
    return found


def _in_turns(move: Move, heads: int) -> Move:
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
    piece = move.pieces[0]
    is_whole = len(move.pieces) == 1 and piece.start is None and move.heads is None and len(piece.names) == 1
    if (
        not is_whole
        or piece.transposed
        or move.transposed
        or not roles_of(holder_of(move.target).rpartition(".")[2]) & {"q", "k"}
    ):
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
