"""The weights that no module holds alone: each is found where an operation first uses it, and checked by its result."""

from __future__ import annotations

import contextlib
import itertools
import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fwdtrace.compare.numbers.contents import Contents, content_of
from fwdtrace.compare.numbers.tensors import tensors_in
from fwdtrace.compare.parting.steps import Steps, name_of
from fwdtrace.compare.two_models.light_copy import light_copy, put, tensors_of
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.watched import Doubles, in_double
from fwdtrace.compare.weight_map import Move, Piece
from fwdtrace.compare.weights.name_parts import likeness
from fwdtrace.compare.weights.weight_values import State, value_of, values_of
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder.dispatch_mode import DispatchMode
from fwdtrace.recorder.torch_internals import Unseen

MOST_TRIED = 48
MOST_TIMES = 3
"""So many operations that use a weight are looked at."""
_EXACT = 1e-8


def move_at_ops(
    first: Steps, source: State, after: Runnable, moves: Mapping[str, Move], seed: int, doubles: Doubles
) -> dict[str, Move]:
    """Moves for weights of the second model that `moves` has not, found as a copy of it runs in float64.

    Under a weight of the first model, turned around or in part where that fits, an operation on what depends on the
    input must give what the first has as well. `source` has the weights of the first, `first` the steps of its run.
    """
    doubled = {name: each.double() if each.is_floating_point() else each for name, each in source.items()}
    model, args, kwargs = in_double(*light_copy(after.model, after.args, after.kwargs), doubles)
    state = tensors_of(model)
    shapes = {name: each.shape for name, each in state.items()}
    for name, value in values_of(moves.values(), doubled, shapes).items():
        put(state[name], value)
    missing = {name: each for name, each in state.items() if name not in moves and each.is_floating_point()}
    for each in missing.values():
        put(each, each.detach().clone())
    used = [piece for move in moves.values() for piece in move.pieces]
    settling = _SettlingAtOps(first, doubled, missing, used, (args, kwargs))
    seed_all(seed)
    # What the model raises is said when it is compared.
    with contextlib.suppress(Exception), torch.no_grad(), settling:
        model(*args, **kwargs)
    return settling.found


class _SettlingAtOps(DispatchMode):
    """Follows what depends on the input and what depends on missing weights alone; where both meet, tries weights."""

    def __init__(
        self, first: Steps, source: State, missing: Mapping[str, Tensor], used: Iterable[Piece], given: Any
    ) -> None:
        super().__init__()
        self.found: dict[str, Move] = {}
        self._alike = _weights_by_op(first)
        self._known = Contents(first.contents, max(_EXACT, 8 * torch.finfo(first.coarsest).eps))
        self._source = source
        self._missing = dict(missing)
        self._used = list(used)
        self._times = dict.fromkeys(missing, 0)
        self._follows = {id(leaf): weakref.ref(leaf) for leaf in tensors_in(given)}
        self._made_of: dict[int, tuple[Tensor, tuple[str, ...]]] = {
            id(tensor): (tensor, (name,)) for name, tensor in missing.items()
        }
        self._computed: list[tuple[Any, Any, Any, Tensor]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, with other weights if these give what the first model has."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        given = tensors_in((args, kwargs))
        of = dict.fromkeys(name for each in given if id(each) in self._made_of for name in self._made_of[id(each)][1])
        open_names = [name for name in of if name not in self.found]
        with Unseen():
            if any(map(self._does_follow, given)):
                if open_names and not function._schema.is_mutable:
                    result = self._settled(open_names, function, args, kwargs, result)
                self._follows.update((id(leaf), weakref.ref(leaf)) for leaf in tensors_in(result))
            elif of:
                self._note(function, args, kwargs, result, tuple(of))
        return result

    def _does_follow(self, tensor: Tensor) -> bool:
        known = self._follows.get(id(tensor))
        return known is not None and known() is tensor

    def _note(self, function: Any, args: Any, kwargs: Any, result: Any, names: tuple[str, ...]) -> None:
        """Remember what is made of missing weights alone, so that it can be made of others."""
        for leaf in tensors_in(result):
            self._made_of[id(leaf)] = leaf, names
            if not leaf._is_view() and not any(leaf is each for each in tensors_in(args)):
                self._computed.append((function, args, kwargs, leaf))

    def _settled(self, names: list[str], function: Any, args: Any, kwargs: Any, result: Any) -> Any:
        names = [name for name in names if self._times[name] < MOST_TIMES]
        if not names:
            return result
        own = {name: self._missing[name].clone() for name in names}
        given = tensors_in((args, kwargs))
        places = [self._made_of[id(each)][1] if id(each) in self._made_of else () for each in given]
        candidates = itertools.chain(self._in_places(name_of(function), places), self._candidates(names))
        for moves in itertools.islice(candidates, MOST_TRIED):
            self._put({move.target: value_of(move, self._source, own[move.target].shape) for move in moves})
            tried = function(*args, **kwargs)
            if self._is_known(tried, moves):
                self.found |= {move.target: move for move in moves}
                self._used += [piece for move in moves for piece in move.pieces]
                return tried
        for name in names:
            self._times[name] += 1
        self._put(own)
        return result

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._missing[name].copy_(value)
        for function, args, kwargs, made in self._computed:
            made.copy_(function(*args, **kwargs))

    def _is_known(self, result: Any, moves: tuple[Move, ...]) -> bool:
        """Whether the first model has this result, or has it once it has added the bias of the same module."""
        tensor = next(iter(tensors_in(result)), None)
        if tensor is None or not tensor.is_floating_point() or self._is_flat(tensor):
            return False
        if next(self._known.like(content_of(tensor)), None) is not None:
            return True
        head, _, last = moves[0].pieces[0].name.rpartition(".")
        bias = self._source.get(f"{head}.bias" if head else "bias") if last != "bias" and len(moves) == 1 else None
        piece = moves[0].pieces[0]
        if bias is None or tensor.dim() < 2:
            return False
        bias = bias[piece.start : piece.stop] if piece.start is not None else bias
        return any(
            bias.numel() == tensor.shape[dim]
            and next(self._known.like(content_of(tensor + bias.view(-1, *[1] * (-1 - dim)))), None) is not None
            for dim in {-1, 1 - tensor.dim()}
        )

    def _is_flat(self, tensor: Tensor) -> bool:
        """Whether all elements are one number, which many have."""
        return tensor.numel() > 1 and bool((tensor == tensor.reshape(-1)[0]).all())

    def _in_places(self, name: str, places: list[tuple[str, ...]]) -> Iterator[tuple[Move, ...]]:
        """The weights that the first model gives to an operation of this name, in the same places."""
        for weights in self._alike.get(name, ()):
            if len(weights) != len(places):
                continue
            pairs = [(of[0], old) for of, old in zip(places, weights, strict=True) if len(of) == 1 and old is not None]
            moves = tuple(Move(target, (Piece(old),), proof="run") for target, old in pairs if target not in self.found)
            if moves and all(self._may_be(move) for move in moves):
                yield moves

    def _may_be(self, move: Move) -> bool:
        piece, target = move.pieces[0], self._missing[move.target]
        same = piece.name in self._source and self._source[piece.name].numel() == target.numel()
        return same and not any(_overlap(piece, each) for each in self._used)

    def _candidates(self, names: list[str]) -> Iterator[tuple[Move, ...]]:
        """Weights of the first for one weight or for two, those of likely names first."""
        if len(names) > 2:
            return
        names = sorted(names, key=lambda name: -self._missing[name].dim())
        for move in self._of_one(names[0], ""):
            if len(names) == 1:
                yield (move,)
                continue
            head = move.pieces[0].name.rpartition(".")[0]
            others = [other for other in self._of_one(names[1], head) if other.pieces != move.pieces]
            yield from ((move, other) for other in others[:3])

    def _of_one(self, name: str, beside: str) -> list[Move]:
        target = self._missing[name]
        moves = [
            move
            for old, tensor in self._source.items()
            if tensor.is_floating_point() and tensor.numel() >= target.numel()
            for move in _moves(name, target, old, tensor)
            if not any(_overlap(move.pieces[0], piece) for piece in self._used)
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
