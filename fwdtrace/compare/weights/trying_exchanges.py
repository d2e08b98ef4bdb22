"""Parts that are given the same change places in the second model, if it then gives more of what the first gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fwdtrace.compare.numbers.contents import Contents
from fwdtrace.compare.parting.steps import ELEMENTS_STAY, SELECTS, Steps
from fwdtrace.compare.two_models.light_copy import light_copy, put, tensors_of
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.watched import watch
from fwdtrace.compare.weight_map import Move
from fwdtrace.compare.weights.exchanges import Exchange, exchanged, exchanges_in
from fwdtrace.compare.weights.results import agree, results_with, shapes_of
from fwdtrace.compare.weights.units import state_of
from fwdtrace.compare.weights.weight_values import Made, State, values_of

MOST_RUNS = 6
"""The trials may take as long as so many runs of the second model, and `MOST_SECONDS` besides."""
MOST_SECONDS = 2.0

_EXACT = 1e-8

Moves = dict[str, Move]


@dataclass(frozen=True)
class Exchanged:
    """The moves after exchanges, and whether the second model then gives the results of the first.

    `sure` has the weights for which one part fits better than all others, where the results do not agree.
    """

    moves: Moves
    do_agree: bool
    sure: frozenset[str] = frozenset()


def with_exchanges(
    moves: Moves,
    source: State,
    after: Runnable,
    first: Steps,
    results: Mapping[str, Tensor],
    settle: Callable[[Moves, Moves], Moves],
    seed: int,
    made: Made,
) -> Exchanged | None:
    """The moves with parts exchanged, if the results then agree, or else if more steps have what the first has.

    `settle` puts some moves among others, and finds those anew that depend on them. None if nothing can be exchanged.
    """
    target = state_of(after.model)
    kinds = exchanges_in(moves.values(), source, target, first)
    if not kinds:
        return None
    began = time.monotonic()
    results_with(after, seed, {})
    ends = time.monotonic() + MOST_RUNS * (time.monotonic() - began) + MOST_SECONDS
    shapes, known = shapes_of(target), Contents(first.contents, max(_EXACT, 8 * torch.finfo(first.coarsest).eps))

    stay: set[str] = set()

    def after_exchange(of: Moves, exchange: Exchange) -> Exchanged:
        new = {name: of[name] for name in stay} | exchanged(of.values(), exchange, source)
        found = settle(of, new)
        gave = results_with(after, seed, values_of(found.values(), source, shapes, made))
        return Exchanged(found, agree(results, gave))

    def steps_known(of: Moves) -> tuple[int, int]:
        steps = watch(_with(after, values_of(of.values(), source, shapes, made)), seed, {}).steps
        return _count_known(steps, known)

    tried: list[list[Moves]] = []
    for kind in kinds:
        tried.append([])
        for exchange in kind:
            if time.monotonic() > ends:
                break
            if (other := after_exchange(moves, exchange)).do_agree:
                return other
            tried[-1].append(other.moves)
    found, sure = moves, set[str]()
    for kind, known_moves in zip(kinds, tried, strict=True):
        tries = [(steps_known(found), found)]
        for place, exchange in enumerate(kind):
            if time.monotonic() > ends:
                break
            if found is moves and place < len(known_moves):
                tries.append((steps_known(known_moves[place]), known_moves[place]))
                continue
            if (other := after_exchange(found, exchange)).do_agree:
                return other
            tries.append((steps_known(other.moves), other.moves))
        most = max(count for count, _ in tries)
        fitting = [each for count, each in tries if count == most]
        if len(fitting) == 1 and len(tries) > len(kind):
            sure |= {name for _, each in tries for name, move in each.items() if move != found.get(name)}
        stay |= {name for exchange in kind for name in exchanged(found.values(), exchange, source)}
        found = fitting[0]
    return Exchanged(found, False, frozenset(sure))


def _with(runnable: Runnable, values: Mapping[str, Tensor]) -> Runnable:
    """A copy of the model with these weights."""
    model, args, kwargs = light_copy(runnable.model, runnable.args, runnable.kwargs)
    state = tensors_of(model)
    for name, value in values.items():
        put(state[name], value)
    return Runnable(model, args, kwargs)


def _count_known(steps: Steps, known: Contents) -> tuple[int, int]:
    """How many steps give what the first model has somewhere, in the same order of its elements and in any."""
    some = in_order = 0
    for step in (step for step in steps.steps if step.name not in ELEMENTS_STAY | SELECTS):
        for held in (steps.held[number] for number in step.gave):
            if held.follows and held.content is not None:
                like = [content for _, content in known.like(held.content)]
                some += bool(like)
                in_order += any(held.content.same_order(content, known.tolerance) for content in like)
    return in_order, some
