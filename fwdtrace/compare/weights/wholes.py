"""What is one matrix in one of the models, a weight or several below each other, and how it is cut for the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from fwdtrace.compare.numbers.contents import Content, content_together
from fwdtrace.compare.parting.steps import Steps
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.first_uses import first_uses
from fwdtrace.compare.weights.weight_values import State

_JOINS = ("cat", "stack")
_CLOSE = 1e-6


@dataclass(frozen=True)
class Whole:
    """Weights of the first model that may be one matrix in the second; `gave` is what they give together, if known."""

    names: tuple[str, ...]
    gave: Content | None = None


def wholes_in(first: Steps, source: State) -> list[Whole]:
    """What the first joins, the weights that it gives the same data, and each weight by itself, in this order."""
    joined = (
        tuple(first.held[number].weight or "" for number in step.given) for step in first.steps if step.name in _JOINS
    )
    found = [Whole(names) for names in dict.fromkeys(joined) if all(_has_rows(source.get(name)) for name in names)]
    found += _with_same_data(first, source)
    return found + [Whole((name,)) for name, tensor in source.items() if _has_rows(tensor)]


def _with_same_data(first: Steps, source: State) -> Iterator[Whole]:
    alike: list[list[tuple[str, Content, Content]]] = []
    for name, use in first_uses(first).items():
        if not _has_rows(source.get(name)) or use.alone is None:
            continue
        for group in alike:
            other, data, _ = group[0]
            if source[other].shape[1:] == source[name].shape[1:] and data.same_elements(use.data, _CLOSE):
                group.append((name, use.data, use.alone))
                break
        else:
            alike.append([(name, use.data, use.alone)])
    for group in (group for group in alike if len(group) > 1):
        yield Whole(tuple(name for name, _, _ in group), content_together([gave for _, _, gave in group]))


def cut(whole: Whole, names: Sequence[str], target: State, source: State) -> Iterator[tuple[Move, ...]]:
    """The moves by which weights of the second are, one below the other, what a whole is, in all ways that fit."""
    ways = itertools.product(_ways([source[name] for name in whole.names]), _ways([target[name] for name in names]))
    for (transposed, stacked, blocks), (turned, _, parts) in ways:
        if len({columns for _, columns in (*blocks, *parts)}) > 1:
            continue
        ends = list(itertools.accumulate(rows for rows, _ in blocks))
        wanted = list(itertools.accumulate(rows for rows, _ in parts))
        if ends[-1] != wanted[-1]:
            continue
        moves = []
        for name, stop, (size, _) in zip(names, wanted, parts, strict=True):
            pieces = []
            for old, end, (rows, _) in zip(whole.names, ends, blocks, strict=True):
                start = end - rows
                begin, last = max(start, stop - size) - start, min(end, stop) - start
                if begin < last:
                    piece = Piece(old, transposed=transposed, stacked=stacked or None)
                    pieces.append(replace(piece, start=begin, stop=last) if last - begin < rows else piece)
            moves.append(Move(name, tuple(pieces), turned, proof="run"))
        yield tuple(moves)


def _ways(tensors: Sequence[Tensor]) -> Iterator[tuple[bool, bool, list[tuple[int, int]]]]:
    """How weights may be below each other: turned around, as stacks of matrices; with the rows and columns of each."""
    yield False, False, [(len(each), math.prod(each.shape[1:])) for each in tensors]
    if all(each.dim() == 2 for each in tensors):
        yield True, False, [(each.shape[1], each.shape[0]) for each in tensors]
    if all(each.dim() == 3 for each in tensors):
        yield False, True, [(each.shape[0] * each.shape[1], each.shape[2]) for each in tensors]


def _has_rows(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_floating_point() and tensor.dim() > 0
