"""Tries exchanges: parts change places in the second model, if it then gives more of what the first gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from fwdtrace.compare.numbers.contents import Contents
from fwdtrace.compare.parting.steps import ELEMENTS_STAY, SELECTS, Steps
from fwdtrace.compare.two_models.light_copy import light_copy, put, tensors_of
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.watched import watch
from fwdtrace.compare.weights.exchanges import Exchange, exchanged, exchanges_in
from fwdtrace.compare.weights.pair import Pair
from fwdtrace.compare.weights.settled import Moves, Settled, settled_anew
from fwdtrace.compare.weights.spellings import holder_of

_EXACT = 1e-8


def with_exchanges(pair: Pair, found: Settled) -> Settled:
    """What was found with parts exchanged, if the results then agree, or else if more steps have what the first has.

    Where the results do not agree, what one part fits better than all others is ambiguous no more.
    """
    kinds = exchanges_in(pair, found.moves.values())
    if not kinds:
        return found
    alone: list[list[Settled]] = []
    for kind in kinds:
        alone.append(_each_tried(pair, found, kind))
        if any(other.agrees for other in alone[-1]):
            return alone[-1][-1]
    now, known = found, Contents(pair.steps.contents, max(_EXACT, 8 * torch.finfo(pair.steps.coarsest).eps))
    for kind, tried in zip(kinds, alone, strict=True):
        others = tried if now.moves == found.moves else _each_tried(pair, now, kind)
        if any(other.agrees for other in others):
            return others[-1]
        now = _best(pair, now, kind, others, known)
    return now


def _each_tried(pair: Pair, found: Settled, kind: Sequence[Exchange]) -> list[Settled]:
    """What comes of each exchange, as far as there is time, up to one with which the results agree."""
    tried: list[Settled] = []
    for exchange in kind:
        if not pair.has_time:
            break
        tried.append(settled_anew(pair, found, exchanged(found.moves.values(), exchange, pair.source)))
        if tried[-1].agrees:
            break
    return tried


def _best(pair: Pair, found: Settled, kind: Sequence[Exchange], others: Sequence[Settled], known: Contents) -> Settled:
    """What was found or the other with which most steps have what the first has, whose parts of this kind then stay."""
    counted: list[tuple[tuple[int, int], Moves]] = []
    for moves in (found.moves, *(each.moves for each in others)):
        if not pair.has_time:
            break
        counted.append((_count_known(_steps_with(pair, moves), known), moves))
    most = max((count for count, _ in counted), default=None)
    fitting = [moves for count, moves in counted if count == most]
    if not fitting:
        return found
    names = {name for exchange in kind for name in exchanged(found.moves.values(), exchange, pair.source)}
    best = replace(found, moves=fitting[0], stay=found.stay | names)
    if len(fitting) > 1 or len(counted) <= len(kind):
        return best
    changed = {name for _, moves in counted for name, move in moves.items() if move != found.moves.get(name)}
    sure = changed | {holder_of(name) for name in changed}
    return replace(best, ambiguous=tuple(name for name in found.ambiguous if name not in sure))


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


def _steps_with(pair: Pair, moves: Moves) -> Steps:
    """The steps of a copy of the second model with these weights."""
    model, args, kwargs = light_copy(pair.after.model, pair.after.args, pair.after.kwargs)
    state = tensors_of(model)
    for name, value in pair.values(moves).items():
        put(state[name], value)
    return watch(Runnable(model, args, kwargs), pair.seed, {}).steps
