"""The second model runs once, and each module of it gets weights of the first as it runs, and is checked with them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from fwdtrace.compare.numbers.contents import Content, content_of
from fwdtrace.compare.numbers.tensors import tensors_in
from fwdtrace.compare.two_models.light_copy import light_copy, put, tensors_of
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.watched import not_fused
from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weights.candidates import candidates_for
from fwdtrace.compare.weights.known import Candidate, Known
from fwdtrace.compare.weights.seen_units import SeenUnits
from fwdtrace.compare.weights.units import CLOSE, Sample, State, Unit
from fwdtrace.compare.weights.uses_outside import Form, UsesOutside
from fwdtrace.compare.weights.weight_values import made_once, values_of
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder.measures.values import version_of

MOST_TRIED = 6
_ENOUGH = 8
"""Of fewer elements, one being a multiple of others says nothing."""


@dataclass
class Moving:
    """What has been moved so far, and for which modules others of the first would do as well.

    `last_seen` is the last tensor that was looked at, with its version and its content. With `keeps_scale`, what is a
    multiple of what a counterpart gave goes on as it is, as the model may scale it later. `has_seen_all` says whether
    the units are what they are by its structure; `outside` has the forms of weights that were used without their unit.
    """

    moves: dict[str, Move] = field(default_factory=dict)
    ambiguous: dict[str, list[str]] = field(default_factory=dict)
    last_seen: tuple[weakref.ref[Tensor], int, Content] | None = None
    keeps_scale: bool = True
    has_seen_all: bool = False
    outside: frozenset[Form] = frozenset()


def move_while_running(
    known: Known,
    runnable: Runnable,
    units: Sequence[Unit],
    seed: int,
    start: Mapping[str, Move],
    *,
    keeps_scale: bool = True,
) -> Moving:
    """Run a copy of the second model, and find for each of its units, as it runs, the weights that it is to have.

    What a unit gives is that of its counterpart, so that what comes after it is given what it would be given in a
    model without a fault before it. What is moved from the `start` is in place before it runs.
    """
    model, args, kwargs = light_copy(runnable.model, runnable.args, runnable.kwargs)
    moving, state = Moving(keeps_scale=keeps_scale), tensors_of(model)
    with torch.no_grad():
        shapes = {name: each.shape for name, each in state.items()}
        for name, value in values_of(start.values(), known.state, shapes, known.made).items():
            put(state[name], value)
    known.start(start.values())
    seen = SeenUnits(model, units)
    outside = UsesOutside(model, units, state)
    handles = [*seen.handles, *outside.handles]
    for unit in units:
        settling = _Settling(moving, known, unit, state)
        module = model.get_submodule(unit.path)
        handles.append(module.register_forward_pre_hook(settling.before, with_kwargs=True))
        handles.append(module.register_forward_hook(settling.after, with_kwargs=True))
    seed_all(seed)
    with torch.no_grad(), not_fused():
        try:
            with outside:
                model(*args, **kwargs)
        except Exception:  # the model is the user's: what it raises is said when it is compared
            pass
        finally:
            for handle in handles:
                handle.remove()
    moving.has_seen_all, moving.outside = seen.are_all, frozenset(outside.forms)
    return moving


class _Settling:
    """Finds the weights of one unit: its first call runs with the likeliest, and if these are wrong with others."""

    def __init__(self, moving: Moving, known: Known, unit: Unit, state: State) -> None:
        self._moving = moving
        self._known = known
        self._unit = unit
        self._state = state
        self._is_done = False
        self._found: list[Candidate] = []
        self._given: tuple[Any, Any] = (), {}

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Put the likeliest weights into the unit, and keep what it is given, which it may write into."""
        if self._is_done:
            return
        self._is_done = True
        contents = tuple(self._content_of(tensor) for tensor in tensors_in((args, kwargs)))
        self._found = candidates_for(self._unit, module, self._state, contents, self._known)
        if self._found:
            self._given = _copied(args, kwargs)
            self._load(self._found[0])

    def after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """See whether these were the weights, else try others, and give what the unit would have given with them."""
        found, self._found = self._found, []
        if not found:
            return None
        best, result = found[0], output
        proved = _is_proved(best, module, *self._given, output)
        if not proved:
            for candidate in _as_likely(found)[1:MOST_TRIED]:
                self._load(candidate)
                tried = _run(module, *self._given)
                if _is_proved(candidate, module, *self._given, tried):
                    best, proved, result = candidate, True, tried
                    break
            else:
                self._load(best)
        self._note(best, found, proved)
        return _forced(best, result, proved, keeps_scale=self._moving.keeps_scale)

    def _content_of(self, tensor: Tensor) -> Content:
        """The content, worked out once of what is given to several units one after the other."""
        seen = self._moving.last_seen
        if seen is None or seen[0]() is not tensor or seen[1] != version_of(tensor):
            self._moving.last_seen = seen = weakref.ref(tensor), version_of(tensor), self._known.content_of(tensor)
        return seen[2]

    def _load(self, candidate: Candidate) -> None:
        for move in candidate.moves:
            target = self._state[move.target]
            put(target, made_once(move, self._known.state, target.shape, self._known.made))

    def _note(self, best: Candidate, found: Sequence[Candidate], proved: bool) -> None:
        moves = self._moving.moves
        rivals = [each for each in found if each is not best and each.rank == best.rank and each.moves != best.moves]
        if rivals and best.same_input:
            self._moving.ambiguous[self._unit.path] = [each.name for each in rivals]
        proof = "run" if proved else "name" if best.by_name else "place"
        for move in best.moves:
            moves[move.target] = replace(move, proof=proof)
        self._known.take(best, self._unit, proved)


def _as_likely(found: Sequence[Candidate]) -> list[Candidate]:
    """The candidates of which a check may take one in place of the first.

    On its own input every counterpart is right: that is no reason against one whose name speaks of the same.
    """
    first = found[0]
    by_name = first.by_name and not first.same_input
    return [each for each in found if each.same_input == first.same_input and (each.by_name or not by_name)]


def _is_proved(candidate: Candidate, module: nn.Module, args: Any, kwargs: Any, result: Any) -> bool:
    """Whether the module gives what its counterpart gave, on its own input or on that of the counterpart."""
    if candidate.gave is None:
        return False
    if _gives(result, candidate.gave):
        return True
    theirs, given = candidate.given, tensors_in((args, kwargs))
    if candidate.same_input or not theirs or [each.shape for each in theirs] != [each.shape for each in given]:
        return False
    tensors = iter(theirs)
    args, kwargs = _pytree.tree_map(lambda leaf: next(tensors) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    return _gives(_run(module, args, kwargs), candidate.gave)


def _run(module: nn.Module, args: Any, kwargs: Any) -> Any:
    args, kwargs = _copied(args, kwargs)
    try:
        return module(*args, **kwargs)
    except Exception:  # the module is the user's
        return None


def _copied(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments with copies of all tensors, into which a module may write."""
    copied: tuple[Any, Any] = _pytree.tree_map(
        lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs)
    )
    return copied


def _gives(result: Any, gave: Sample) -> bool:
    tensor = _first(result)
    if tensor is None:
        return False
    if tensor.shape == gave.tensor.shape and tensor.dtype == gave.tensor.dtype and torch.equal(tensor, gave.tensor):
        return True
    return content_of(tensor).same_elements(gave.content, CLOSE)


def _are_multiples(one: Content, other: Content) -> bool:
    """Whether one is the other multiplied by a number, which a model may do after the module as well as in it."""
    size = other.moments[2]
    return size > 0 and one.count >= _ENOUGH and one.same_elements(other.times(one.moments[2] / size), CLOSE)


def _first(result: Any) -> Tensor | None:
    return next(iter(tensors_in(result)), None)


def _forced(candidate: Candidate, result: Any, proved: bool, *, keeps_scale: bool) -> Any:
    """What the unit is to give: what its counterpart gave, unless that is the same or cannot be put in its place."""
    if proved and candidate.same_input:
        return result
    gave, tensor = candidate.gave.tensor if candidate.gave is not None else None, _first(result)
    if tensor is None or gave is None:
        return result
    if keeps_scale and _are_multiples(content_of(tensor), content_of(gave)):
        return result
    if gave.shape != tensor.shape and gave.dim() > 2 and gave.transpose(0, 1).shape == tensor.shape:
        gave = gave.transpose(0, 1)  # one of the two has the examples first
    if gave.shape == tensor.shape:
        return _pytree.tree_map(lambda leaf: gave.to(leaf.dtype) if leaf is tensor else leaf, result)
    return result
