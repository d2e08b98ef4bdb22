"""The weights that no module holds alone: each is found where an operation first uses it, and checked by its result."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fwdtrace.compare.numbers.contents import Contents, content_of
from fwdtrace.compare.numbers.tensors import tensors_in
from fwdtrace.compare.parting.steps import ELEMENTS_STAY, Steps, name_of
from fwdtrace.compare.two_models.light_copy import light_copy, put, tensors_of
from fwdtrace.compare.two_models.watched import in_double
from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weights.candidates_at_ops import CandidatesAtOps
from fwdtrace.compare.weights.pair import Pair
from fwdtrace.compare.weights.results import shapes_of
from fwdtrace.compare.weights.weight_values import State, value_of, values_of
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder.dispatch_mode import DispatchMode
from fwdtrace.recorder.torch_internals import Unseen

MOST_TRIED = 48
MOST_TIMES = 5
"""So many operations that use a weight are looked at."""
_EXACT = 1e-8


def move_at_ops(pair: Pair, first: Steps, moves: Mapping[str, Move]) -> dict[str, Move]:
    """Moves for weights of the second model that `moves` has not, found as a copy of it runs in float64.

    Under a weight of the first model, turned around or in part where that fits, an operation on what depends on the
    input must give what the first has as well, by its steps.
    """
    if not pair.has_time:
        return {}
    source = {name: each.double() if each.is_floating_point() else each for name, each in pair.source.items()}
    model, args, kwargs = in_double(*light_copy(pair.after.model, pair.after.args, pair.after.kwargs), pair.doubles)
    state = tensors_of(model)
    for name, value in values_of(moves.values(), source, shapes_of(state)).items():
        put(state[name], value)
    missing = {name: each for name, each in state.items() if name not in moves and each.is_floating_point()}
    for each in missing.values():
        put(each, each.detach().clone())
    known = (move for name, move in moves.items() if name in state)
    candidates = CandidatesAtOps(first, source, state, known, pair.laid_out)
    settling = _SettlingAtOps(pair, first, source, missing, candidates, (args, kwargs))
    seed_all(pair.seed)
    # What the model raises is said when it is compared.
    with contextlib.suppress(Exception), torch.no_grad(), settling:
        model(*args, **kwargs)
    return settling.found


class _SettlingAtOps(DispatchMode):
    """Follows what depends on the input and what on missing weights; where both meet and after that, tries weights."""

    def __init__(
        self,
        pair: Pair,
        first: Steps,
        source: State,
        missing: Mapping[str, Tensor],
        candidates: CandidatesAtOps,
        given: Any,
    ) -> None:
        super().__init__()
        self.found: dict[str, Move] = {}
        self._pair = pair
        self._candidates = candidates
        together = ((whole.gave, -1) for whole in candidates.wholes if whole.gave is not None)
        tolerance = max(_EXACT, 8 * torch.finfo(first.coarsest).eps)
        self._known = Contents(itertools.chain(first.contents, together), tolerance)
        self._source = source
        self._missing = dict(missing)
        self._times = dict.fromkeys(missing, 0)
        self._follows = {id(leaf): weakref.ref(leaf) for leaf in tensors_in(given)}
        self._made_of: dict[int, tuple[Tensor, tuple[str, ...]]] = {
            id(tensor): (tensor, (name,)) for name, tensor in missing.items()
        }
        self._lost: dict[int, weakref.ref[Tensor]] = {}
        self._computed: list[_Computed] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, with other weights if these give what the first model has."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        given = tensors_in((args, kwargs))
        names = [name for each in given for name in self._open_names(each)]
        with Unseen():
            follows = any(map(self._does_follow, given))
            if function._schema.is_mutable:
                self._times |= dict.fromkeys(names, MOST_TIMES)  # what was written into cannot be made again
            elif names and follows and name_of(function) not in ELEMENTS_STAY and not self._is_beyond(given):
                result = self._settled([*dict.fromkeys(names)], function, args, kwargs, result)
            if names := [name for each in given for name in self._open_names(each)]:
                self._note(_Computed(function, args, kwargs, result, frozenset(names)), tuple(dict.fromkeys(names)))
            if follows:
                self._follows.update((id(leaf), weakref.ref(leaf)) for leaf in tensors_in(result))
            if any(map(self._is_lost, given)):
                self._lost.update((id(leaf), weakref.ref(leaf)) for leaf in tensors_in(result))
        return result

    def _is_lost(self, tensor: Tensor) -> bool:
        """Whether it comes of a weight that was looked for often enough and not found."""
        known = self._lost.get(id(tensor))
        if known is not None and known() is tensor:
            return True
        _, names = self._made_of.get(id(tensor), (None, ()))
        return any(name not in self.found and self._times[name] >= MOST_TIMES for name in names)

    def _is_beyond(self, given: Sequence[Tensor]) -> bool:
        """Whether all that depends on the input is lost here, and nothing that the first has: no result will be."""
        data = [each for each in given if self._does_follow(each)]
        return all(map(self._is_lost, data)) and not any(
            next(self._known.like(content_of(each)), None) is not None for each in data
        )

    def _open_names(self, tensor: Tensor) -> tuple[str, ...]:
        """The missing weights that the tensor is made of, unless each was looked for often enough."""
        _, names = self._made_of.get(id(tensor), (None, ()))
        return tuple(name for name in names if name not in self.found and self._times[name] < MOST_TIMES)

    def _does_follow(self, tensor: Tensor) -> bool:
        known = self._follows.get(id(tensor))
        return known is not None and known() is tensor

    def _note(self, computed: _Computed, names: tuple[str, ...]) -> None:
        """Remember what is made of missing weights, so that it can be made of others."""
        given = tensors_in((computed.args, computed.kwargs))
        leaves = tensors_in(computed.result)
        self._made_of |= {id(leaf): (leaf, names) for leaf in leaves}
        if not any(leaf._is_view() or any(leaf is each for each in given) for leaf in leaves):
            self._computed.append(computed)

    def _settled(self, names: list[str], function: Any, args: Any, kwargs: Any, result: Any) -> Any:
        own = {name: self._missing[name].clone() for name in names}
        given = tensors_in((args, kwargs))
        places = [self._made_of[id(each)][1] if id(each) in self._made_of else () for each in given]
        for moves in itertools.islice(self._candidates.for_op(name_of(function), places, names), MOST_TRIED):
            if not self._pair.has_time:
                break
            self._put({move.target: value_of(move, self._source, own[move.target].shape) for move in moves})
            tried = function(*args, **kwargs)
            if self._is_known(tried, moves):
                self.found |= {move.target: move for move in moves}
                self._candidates.take(moves)
                return tried
        for name in names:
            self._times[name] += 1
        self._put(own)
        return result

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._missing[name].copy_(value)
        for each in self._computed:
            if not each.names.isdisjoint(values):
                made = each.function(*each.args, **each.kwargs)
                for old, new in zip(tensors_in(each.result), tensors_in(made), strict=True):
                    old.copy_(new)

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


@dataclass(frozen=True, eq=False)
class _Computed:
    """What an operation has made of missing weights, whose names it has."""

    function: Any
    args: Any
    kwargs: Any
    result: Any
    names: frozenset[str]
