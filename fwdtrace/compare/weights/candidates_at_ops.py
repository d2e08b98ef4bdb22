"""Which weights of the first model an operation of the second may be given for missing ones, the likeliest first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from fwdtrace.compare.parting.steps import Steps
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.first_uses import first_uses
from fwdtrace.compare.weights.named_parts import NamedPart, is_against, keys_of, part_of
from fwdtrace.compare.weights.spellings import kind_of, likeness, template
from fwdtrace.compare.weights.weight_values import State
from fwdtrace.compare.weights.wholes import Whole, cut, wholes_in

MOST_ORDERED = 4
"""Of more weights that the first gives the same data, the order stays."""

Moved = tuple[Move, ...]


class CandidatesAtOps:
    """What may be tried at an operation, as far as is known by the `moves` so far.

    `source` has the weights of the first model, `target` of the second, `first` the steps of the first. A piece that is
    used is not tried again, and nothing that would hide a fault. `laid_out` has the weights of both that have a row for
    each output.
    """

    def __init__(
        self,
        first: Steps,
        source: State,
        target: State,
        moves: Iterable[Move],
        laid_out: tuple[frozenset[str], frozenset[str]],
    ) -> None:
        self._laid_out = laid_out
        self._source = source
        self._target = target
        self._keys = keys_of(source), keys_of(target)
        self._used: list[Piece] = []
        self._holders: dict[str, dict[str | None, tuple[NamedPart, ...]]] = {}
        self.take(moves)
        self._alike = _weights_by_op(first)
        self._uses = first_uses(first)
        self._lists = tuple(_lists(keys) for keys in self._keys)
        self.wholes = wholes_in(first, source)

    def take(self, moves: Iterable[Move]) -> None:
        """Note that what these are made of is used."""
        for move in moves:
            self._used += move.pieces
            self._holders.setdefault(self._keys[1][move.target], {})[kind_of(move.target)] = self._made_of(move)

    def for_op(self, op: str, places: Sequence[tuple[str, ...]], names: Sequence[str]) -> Iterator[Moved]:
        """What to try for the missing `names`; `places` has those that each operand of this op is made of alone."""
        kinds = self._in_places(op, places, names), self._in_same_step(names), self._in_whole(names)
        for moves in itertools.chain(*kinds, self._one_by_one(names)):
            if not any(map(self._would_hide, moves)):
                yield moves

    def _would_hide(self, move: Move) -> bool:
        """Whether a model would need the weight like this only where it uses its weights wrongly.

        That is so where rows of a layer become columns, where names say that it is another weight, and where a module
        has the weight of one module and the bias of another.
        """
        ours, theirs = self._laid_out
        rows = [piece for piece in move.pieces if piece.name in ours and move.target in theirs]
        if any(piece.transposed != move.transposed for piece in rows):
            return True
        holders = self._made_of(move)
        known = self._holders.get(self._keys[1][move.target], {})
        torn = any(other != holders for kind, other in known.items() if kind != kind_of(move.target) and other)
        if (holders and torn) or is_against(move, self._source, self._keys):
            return True
        piece = move.pieces[0]
        if len(move.pieces) > 1 or piece.start is not None:
            return False
        user, part = NamedPart(self._keys[1][move.target]), NamedPart(self._keys[0][piece.name])
        return user.meant_among(self._siblings(piece.name)) not in (None, part) or self._is_out_of_order(user, part)

    def _siblings(self, name: str) -> list[NamedPart]:
        """The parts of the first model with weights of the same shape that meet the same data."""
        use, shape = self._uses.get(name), self._source[name].shape
        if use is None:
            return []
        alike = (
            other
            for other, each in self._uses.items()
            if other in self._source and self._source[other].shape == shape and each.data == use.data
        )
        return [*{NamedPart(self._keys[0][other]): None for other in alike}]

    def _is_out_of_order(self, user: NamedPart, part: NamedPart) -> bool:
        """Whether both are of lists of one length, and at other places there."""
        ours, theirs = (lists[template(each.key)] for lists, each in zip(self._lists, (part, user), strict=True))
        return len(ours) == len(theirs) > 1 and ours.index(part.key) != theirs.index(user.key)

    def _made_of(self, move: Move) -> tuple[NamedPart, ...]:
        """The parts of modules that a weight of a module is made of; nothing if one of the two is in no module."""
        if self._keys[1][move.target] == move.target:
            return ()
        parts = [part_of(piece, self._keys[0], self._source) for piece in move.pieces]
        pairs = zip(parts, move.pieces, strict=True)
        return tuple(part for part, piece in pairs if part is not None and part.key != piece.name)

    def _in_places(self, op: str, places: Sequence[tuple[str, ...]], names: Sequence[str]) -> Iterator[Moved]:
        """The weights that the first model gives to an operation of this name, in the same places."""
        for weights in self._alike.get(op, ()):
            if len(weights) != len(places):
                continue
            pairs = [(of[0], old) for of, old in zip(places, weights, strict=True) if len(of) == 1 and old is not None]
            moves = tuple(_as_it_is(target, old) for target, old in pairs if target in names)
            if moves and all(map(self._fits, moves)):
                yield moves

    def _in_same_step(self, names: Sequence[str]) -> Iterator[Moved]:
        """All weights of a step of the first, in any order, where one step does what several of the second do."""
        if not 3 <= len(names) <= 4:
            return
        for weights in itertools.chain.from_iterable(self._alike.values()):
            olds = [old for old in weights if old is not None]
            if len(olds) != len(names):
                continue
            orders = itertools.permutations(olds)
            for order in sorted(orders, key=lambda order: -sum(map(likeness, names, order))):
                moves = tuple(map(_as_it_is, names, order))
                if all(map(self._fits, moves)):
                    yield moves

    def _fits(self, move: Move) -> bool:
        piece, target = move.pieces[0], self._target[move.target]
        same = piece.name in self._source and self._source[piece.name].numel() == target.numel()
        return same and self._is_free(move)

    def _is_free(self, move: Move) -> bool:
        return not any(_overlap(piece, each) for piece in move.pieces for each in self._used)

    def _in_whole(self, names: Sequence[str]) -> Iterator[Moved]:
        """The rows or columns of what is one matrix in the first model for what is one in the second."""
        matrices = [name for name in names if self._target[name].dim() > 1]
        vectors = [name for name in names if self._target[name].dim() == 1]
        for whole in self.wholes:
            if len(matrices or vectors) == len(whole.names) == 1:
                continue
            for ordered in self._orders(whole, matrices or vectors):
                for moves in cut(ordered, matrices or vectors, self._target, self._source):
                    if not all(map(self._is_free, moves)):
                        continue
                    if not matrices or not vectors:
                        yield moves
                        continue
                    for bias in self._biases(ordered):
                        biases = next(cut(bias, vectors, self._target, self._source), ())
                        if biases and all(map(self._is_free, biases)):
                            yield (*moves, *biases)

    def _orders(self, whole: Whole, names: Sequence[str]) -> Iterator[Whole]:
        """The whole; of what the first does not join, in the order of the sizes wanted that fits the names best."""
        if whole.gave is None or len(whole.names) != len(names) or len(names) > MOST_ORDERED:
            yield whole
            return
        sizes = [self._target[name].numel() for name in names]
        orders = itertools.permutations(whole.names)
        fitting = [order for order in orders if [self._source[name].numel() for name in order] == sizes]
        if fitting:
            yield replace(whole, names=max(fitting, key=lambda order: sum(map(likeness, names, order))))

    def _biases(self, whole: Whole) -> Iterator[Whole]:
        """The biases of the modules of a whole together, or else any vector."""
        heads = [name.rpartition(".")[0] for name in whole.names]
        names = tuple(f"{head}.bias" if head else "bias" for head in heads)
        if all(name in self._source for name in names):
            yield Whole(names)
            return
        yield from (each for each in self.wholes if all(self._source[name].dim() == 1 for name in each.names))

    def _one_by_one(self, names: Sequence[str]) -> Iterator[Moved]:
        """Weights of the first for one weight or for two, those of likely names first."""
        if len(names) > 2:
            return
        names = sorted(names, key=lambda name: -self._target[name].dim())
        for move in self._of_one(names[0], ""):
            if len(names) == 1:
                yield (move,)
                continue
            head = move.pieces[0].name.rpartition(".")[0]
            others = [other for other in self._of_one(names[1], head) if other.pieces != move.pieces]
            yield from ((move, other) for other in others[:3])

    def _of_one(self, name: str, beside: str) -> list[Move]:
        target = self._target[name]
        moves = [
            move
            for old, tensor in self._source.items()
            if tensor.is_floating_point() and tensor.numel() >= target.numel()
            for move in _moves(name, target, old, tensor)
            if self._is_free(move)
        ]

        def rank(move: Move) -> tuple[bool, bool, float]:
            old = move.pieces[0].name
            return old.rpartition(".")[0] != beside, move.pieces[0].start is not None, -likeness(name, old)

        return sorted(moves, key=rank)


def _weights_by_op(first: Steps) -> dict[str, list[tuple[str | None, ...]]]:
    """For each operation of the first model that is given weights, by its name, their names in their places."""
    found: dict[str, list[tuple[str | None, ...]]] = {}
    for step in first.steps:
        weights = tuple(first.held[number].weight for number in step.given)
        if any(weights):
            found.setdefault(step.name, []).append(weights)
    return found


def _lists(keys: Mapping[str, str]) -> dict[str, list[str]]:
    """What is called the same but for its numbers, in order."""
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys.values()):
        found.setdefault(template(key), []).append(key)
    return found


def _as_it_is(target: str, old: str) -> Move:
    return Move(target, (Piece(old),), proof="run")


def _moves(name: str, target: Tensor, old: str, tensor: Tensor) -> Iterator[Move]:
    """What a weight may be of another: the same in any shape, turned around, or some rows of it."""
    count, rows = target.numel(), len(tensor) if tensor.dim() else 1
    if tensor.numel() == count:
        if tensor.dim() < 2 or _columns(target) == _columns(tensor) or target.dim() > 2:
            yield Move(name, (Piece(old),), proof="run")
        if tensor.dim() > 1 and target.dim() > 1:
            yield Move(name, (Piece(old),), True, proof="run")
        return
    size = count * rows // tensor.numel()
    if size == 0 or rows % size or count * rows % tensor.numel() or tensor.dim() > 2:
        return
    if (target.dim() < 2) != (tensor.dim() < 2):
        return
    columns = math.prod(tensor.shape[1:])
    for start in range(0, rows, size):
        pieces = (Piece(old, start, start + size),)
        if target.dim() < 2 or _columns(target) == columns or target.dim() > 2:
            yield Move(name, pieces, proof="run")
        if target.dim() > 1 and len(target) == columns:
            yield Move(name, pieces, True, proof="run")


def _columns(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


def _overlap(one: Piece, other: Piece) -> bool:
    if one.name not in other.names:
        return False
    if one.start is None or other.start is None or one.stop is None or other.stop is None:
        return True
    return one.start < other.stop and other.start < one.stop
