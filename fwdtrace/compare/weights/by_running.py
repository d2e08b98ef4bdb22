"""The weights of one model into another as copies of both run: what each step finds is where the next goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from fwdtrace.compare.two_models.recorded import Once, Runnable
from fwdtrace.compare.weight_map import Move, WeightMap
from fwdtrace.compare.weights.at_ops import move_at_ops
from fwdtrace.compare.weights.head_by_head import head_by_head
from fwdtrace.compare.weights.known import BY_NAME
from fwdtrace.compare.weights.pair import Pair, run_copy
from fwdtrace.compare.weights.results import agree, results_with
from fwdtrace.compare.weights.settled import Moves, Settled, settled, settled_anew, settled_at_first
from fwdtrace.compare.weights.siblings import as_in_other_layers
from fwdtrace.compare.weights.spellings import holder_of, likeness
from fwdtrace.compare.weights.trying_exchanges import with_exchanges
from fwdtrace.compare.weights.uses_outside import Form, form_of, forms_of, forms_outside
from fwdtrace.compare.weights.weight_values import State
from fwdtrace.compare.weights.written import written

MOST_ROUNDS = 2
"""So often weights are looked for at operations, and parts are exchanged."""


def moved_by_running(
    source: State, before: Runnable, after: Runnable, given: Moves, seed: int, ran: tuple[Once, Once] | None
) -> WeightMap:
    """Move what is found as the second model runs; where the results differ then, look for what makes them agree."""
    run = ran[0].run if ran is not None else run_copy(before, seed, ops=True)
    pair = Pair(before, after, source, given, seed, run)
    found = _used_outside(pair, _at_operations(pair, settled_at_first(pair)))
    if pair.lacks_any(found.moves):
        found = replace(found, moves=as_in_other_layers(found.moves, source, pair.target))
    weights = _written(pair, found, share=ran is not None)
    if run.error is not None or (ran is None and _is_clear(found)):  # to look at the results would take a run more
        return weights
    gave = ran[1].run.gave.items() if ran is not None else results_with(after, seed, {})
    if agree(run.gave, gave):
        return replace(weights, moves=_proved(weights.moves), ambiguous=())
    searched = _until_results_agree(pair, found)
    if ran is not None and searched.moves != found.moves:
        ran[1].forget()
    if searched.agrees:
        searched = replace(searched, moves={move.target: move for move in _proved(searched.moves.values())})
        return _written(pair, replace(searched, ambiguous=()), share=ran is not None)
    return _written(pair, _doubted(searched, searched.ambiguous), share=ran is not None)


def _at_operations(pair: Pair, found: Settled) -> Settled:
    """What is found once weights that are missing are looked for where operations use them."""
    if pair.run.error is not None or not pair.lacks_any(found.moves):
        return found
    for steps in pair.all_steps():
        while pair.lacks_any(found.moves):
            stay = {name: found.moves[name] for name in found.stay}
            proved = {name: move for name, move in found.moves.items() if move.proof == "run"}
            more = move_at_ops(pair, steps, {**proved, **stay})
            if not more:
                break
            stay |= more
            found = settled(pair, found.units, stay, stay)
        if not pair.lacks_any(found.moves) or not pair.has_time:
            break
    return found


def _used_outside(pair: Pair, found: Settled) -> Settled:
    """What is found where weights are used outside their units, which may have got those of others of their form."""
    forms = _forms_outside(pair, found)
    if pair.run.error is not None or not forms or pair.agrees(found.moves):
        return found
    stay = {**move_at_ops(pair, pair.steps, pair.given), **pair.given}
    values = pair.values(found.moves)
    if any(name not in values or not torch.equal(each, values[name]) for name, each in pair.values(stay).items()):
        found = _at_operations(pair, settled(pair, found.units, stay, stay))
    doubtful = (
        name
        for name, move in found.moves.items()
        if name not in stay and form_of(pair.target[name]) in forms and not _is_by_name(move)
    )
    return _doubted(found, sorted(doubtful))


def _forms_outside(pair: Pair, found: Settled) -> frozenset[Form] | set[Form]:
    """The forms of weights of units that one of the models uses outside of them as well."""
    in_second = found.outside & forms_of(pair.ours, pair.source)
    return in_second or forms_outside(pair.run.trace, pair.ours, pair.source) & forms_of(found.units, pair.target)


def _until_results_agree(pair: Pair, found: Settled) -> Settled:
    """What is found with weights at other operations, parts exchanged, or rows in another order."""
    for place in range(MOST_ROUNDS):
        again = _at_operations_again(pair, found)
        if again.agrees or (place and again.moves == found.moves):
            found = again
            break
        found = with_exchanges(pair, again)
        if found.agrees or found.moves == again.moves:
            break
    return found if found.agrees else head_by_head(pair, found)


def _at_operations_again(pair: Pair, found: Settled) -> Settled:
    """What is found once all weights of which neither a check nor a name is sure are looked for at operations."""
    sure = {name: move for name, move in found.moves.items() if move.proof == "run" or _is_by_name(move)}
    sure |= pair.given
    if all(name in sure for name, tensor in pair.target.items() if tensor.is_floating_point()):
        return found
    more = move_at_ops(pair, pair.steps, sure)
    if not more:
        return found
    return settled_anew(pair, replace(found, stay=found.stay | more.keys()), more)


def _doubted(found: Settled, names: Iterable[str]) -> Settled:
    """What was found, with the weights by these names ambiguous."""
    names = tuple(names)
    moves = {name: replace(found.moves[name], proof="place") for name in names if name in found.moves}
    return replace(found, moves={**found.moves, **moves}, ambiguous=tuple(dict.fromkeys((*found.ambiguous, *names))))


def _written(pair: Pair, found: Settled, *, share: bool) -> WeightMap:
    return written(found.moves.values(), pair.source, pair.after.model, found.ambiguous, pair.made, share=share)


def _is_by_name(move: Move) -> bool:
    """Whether the names of both holders speak of the same."""
    return likeness(holder_of(move.target), holder_of(move.pieces[0].name)) >= BY_NAME


def _is_clear(found: Settled) -> bool:
    """Whether nothing else could be, by what was found of the modules alone."""
    return not found.ambiguous and not any(map(_is_in_parts, found.moves.values()))


def _proved(moves: Iterable[Move]) -> tuple[Move, ...]:
    """The moves, of which those of matrices in parts are proved by the run of the whole model."""
    return tuple(replace(move, proof="run") if _is_in_parts(move) else move for move in moves)


def _is_in_parts(move: Move) -> bool:
    return len(move.pieces) > 1 or any(piece.start is not None for piece in move.pieces)
