"""The second model runs once, and each module of it gets weights of the first as it runs, and is checked with them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from fwdtrace.compare.candidates import Candidate, Known, candidates_for
from fwdtrace.compare.contents import Content, content_of
from fwdtrace.compare.runs import Runnable
from fwdtrace.compare.units import CLOSE, State, Unit, state_of
from fwdtrace.compare.watched import not_fused
from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weight_values import value_of, values_of
from fwdtrace.models.randomness import seed_all

MOST_TRIED = 6


@dataclass
class Moving:
    """What has been moved so far, and for which modules others of the first would do as well."""

    moves: dict[str, Move] = field(default_factory=dict)
    ambiguous: dict[str, list[str]] = field(default_factory=dict)


def move_while_running(
    known: Known, runnable: Runnable, units: Sequence[Unit], seed: int, start: Mapping[str, Move]
) -> Moving:
    """Run a copy of the second model, and find for each of its units, as it runs, the weights that it is to have.

    What a unit gives is that of its counterpart, so that what comes after it is given what it would be given in a
    model without a fault before it. What is moved from the `start` is in place before it runs.
    """
    model, args, kwargs = copy.deepcopy((runnable.model, runnable.args, runnable.kwargs))
    moving, state = Moving(), state_of(model)
    with torch.no_grad():
        for name, value in values_of(
            start.values(), known.state, {name: each.shape for name, each in state.items()}
        ).items():
            state[name].copy_(value)
    known.start(start.values())
    busy = [False]
    handles = []
    for unit in units:
        module = model.get_submodule(unit.path)
        hook = _hook(moving, known, unit, state, busy)
        handles.append(module.register_forward_hook(hook, with_kwargs=True))
    seed_all(seed)
    with torch.no_grad(), not_fused():
        try:
            model(*args, **kwargs)
        except Exception:  # the model is the user's: what it raises is said when it is compared
            pass
        finally:
            for handle in handles:
                handle.remove()
    return moving


def _hook(moving: Moving, known: Known, unit: Unit, state: State, busy: list[bool]) -> Callable[..., Any]:
    done = [False]

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if done[0] or busy[0]:
            return None
        done[0] = busy[0] = True
        try:
            return _settle(moving, known, unit, state, module, args, kwargs, output)
        finally:
            busy[0] = False

    return after


def _settle(
    moving: Moving, known: Known, unit: Unit, state: State, module: nn.Module, args: Any, kwargs: Any, output: Any
) -> Any:
    """Find the weights of a unit that has just run with its own, and give what it would have given with them."""
    given = tuple(leaf for leaf in _pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    contents = tuple(content_of(tensor) for tensor in given)
    found = candidates_for(unit, module, state, contents, known)
    if not found:
        return None
    best, proved, result = found[0], False, output
    for candidate in [each for each in found if each.same_input == best.same_input][:MOST_TRIED]:
        _load(candidate, state, known.state)
        proved, result = _check(candidate, module, args, kwargs, given)
        if proved:
            best = candidate
            break
    else:
        _load(best, state, known.state)
        proved, result = _check(best, module, args, kwargs, given)
    rivals = [each for each in found if each is not best and each.rank == best.rank and each.moves != best.moves]
    if rivals and best.same_input:
        moving.ambiguous[unit.path] = [each.name for each in rivals]
    proof = "run" if proved else "name" if best.by_name else "place"
    for move in best.moves:
        moving.moves[move.target] = replace(move, proof=proof)
    known.take(best, unit, proved)
    return _forced(best, result, proved)


def _load(candidate: Candidate, state: State, source: State) -> None:
    for move in candidate.moves:
        target = state[move.target]
        target.copy_(value_of(move, source, target.shape))


def _check(
    candidate: Candidate, module: nn.Module, args: Any, kwargs: Any, given: tuple[Tensor, ...]
) -> tuple[bool, Any]:
    """Whether the module gives what its counterpart gave, on its own input or on that of the counterpart."""
    result = _run(module, args, kwargs)
    if candidate.gave is None:
        return False, result
    if _gives(result, candidate.gave):
        return True, result
    theirs = candidate.given
    if candidate.same_input or not theirs or [each.shape for each in theirs] != [each.shape for each in given]:
        return False, result
    tensors = iter(theirs)
    args, kwargs = _pytree.tree_map(lambda leaf: next(tensors) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    return _gives(_run(module, args, kwargs), candidate.gave), result


def _run(module: nn.Module, args: Any, kwargs: Any) -> Any:
    args, kwargs = _pytree.tree_map(
        lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs)
    )  # it may write into what it is given
    try:
        return module(*args, **kwargs)
    except Exception:  # the module is the user's
        return None


def _gives(result: Any, content: Content) -> bool:
    tensor = _first(result)
    return tensor is not None and content_of(tensor).same_elements(content, CLOSE)


def _first(result: Any) -> Tensor | None:
    return next((leaf for leaf in _pytree.tree_leaves(result) if isinstance(leaf, Tensor)), None)


def _forced(candidate: Candidate, result: Any, proved: bool) -> Any:
    """What the unit is to give: what its counterpart gave, unless that is the same or cannot be put in its place."""
    if proved and candidate.same_input:
        return result
    gave = candidate.result
    if isinstance(result, Tensor) and gave is not None and gave.shape == result.shape:
        return gave.to(result.dtype)
    return result
