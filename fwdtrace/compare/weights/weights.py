"""The weights of one model into another: by name where all have one, else by running both and checking each module."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fwdtrace.compare.names import renamed
from fwdtrace.compare.parting.in_parts import cuts_into_rows
from fwdtrace.compare.parting.steps import Steps
from fwdtrace.compare.two_models.light_copy import put, tensors_of
from fwdtrace.compare.two_models.outputs import outputs_of
from fwdtrace.compare.two_models.recorded import Once, Runnable
from fwdtrace.compare.two_models.watched import Doubles, watch
from fwdtrace.compare.weight_map import Move, Piece, WeightMap
from fwdtrace.compare.weights.at_ops import move_at_ops
from fwdtrace.compare.weights.head_by_head import in_the_right_order
from fwdtrace.compare.weights.known import BY_NAME
from fwdtrace.compare.weights.left_over import left_over
from fwdtrace.compare.weights.results import agree, results_with, shapes_of
from fwdtrace.compare.weights.settled import Moves, Settled, run_copy, settled, settled_at_first, without
from fwdtrace.compare.weights.siblings import as_in_other_layers
from fwdtrace.compare.weights.spellings import likeness
from fwdtrace.compare.weights.trying_exchanges import with_exchanges
from fwdtrace.compare.weights.units import laid_out, state_of, units_of
from fwdtrace.compare.weights.uses_outside import form_of, forms_of, forms_outside, memory_of
from fwdtrace.compare.weights.weight_values import Made, State, values_of
from fwdtrace.trace.text import first_few

MOST_NAMED = 3
MOST_CUTS = 3
MOST_RUNS = 6
"""Weights are looked for at operations again as long as so many runs take, and `MOST_SECONDS` besides."""
MOST_SECONDS = 2.0
MOST_ROUNDS = 2
"""So often weights are looked for at operations, and parts are exchanged."""


def copy_weights(
    before: Runnable,
    after: Runnable,
    maps: Sequence[str] = (),
    seed: int = 0,
    ran: tuple[Once, Once] | None = None,
) -> WeightMap:
    """Copy the parameters and buffers of the first model into the second; say what was copied and what was not.

    If every weight of the second has a namesake of its shape, after the maps, they go by name. Else copies of both
    models run: each module of the second that holds weights is given those of the modules of the first that are given
    the same, or that run in the same place under a like name, and is checked with them. What is left goes by its name
    or by a shape that nothing else has. `ran` has the runs of both, if each may run now, the second once it has its
    weights; both then share the memory of what is moved as it is.
    """
    source, target = _as_it_is(before.model), state_of(after.model)
    moves = _by_name(source, target, maps)
    if len(moves) < len(target):
        try:
            return _by_running(source, before, after, moves if maps else {}, seed, ran)
        except Exception:  # a model that cannot be copied; what it raises is said when it is compared
            if ran is not None:
                ran[1].forget()
            moves |= left_over(source, target, moves)
    return _apply(moves.values(), source, after.model, share=ran is not None)


def apply(moves: Iterable[Move], first: nn.Module, second: nn.Module) -> WeightMap:
    """Write the moved weights into the second model; a move that does not fit is left out."""
    return _apply(moves, state_of(first), second)


def _apply(
    moves: Iterable[Move],
    source: State,
    second: nn.Module,
    ambiguous: Sequence[str] = (),
    made: Made | None = None,
    *,
    share: bool = False,
) -> WeightMap:
    """Write the moved weights; with `share`, a parameter that is moved as it is uses the first model's own memory."""
    target = state_of(second)
    values = values_of(moves, source, {name: tensor.shape for name, tensor in target.items()}, made)
    done = {move.target: move for move in moves if move.target in values}
    with torch.no_grad():
        alone = _alone_in_memory(second, source) if share else {}
        for name, value in values.items():
            if name in alone:
                put(alone[name], value)
            else:
                target[name].copy_(value)
        target = state_of(second)
    by_memory = {memory_of(target[name]): move for name, move in done.items()}
    for name in target:  # one tensor may have several names
        if name not in done and (tied := by_memory.get(memory_of(target[name]))) is not None:
            done[name] = replace(tied, target=name)
    used = {memory_of(source[name]) for move in done.values() for piece in move.pieces for name in piece.names}
    left = tuple(name for name in target if name not in done)
    unused = tuple(name for name in source if memory_of(source[name]) not in used)
    rows = tuple(replace(move, shape=tuple(target[name].shape)) for name, move in done.items())
    return WeightMap(rows, len(target), left, unused, tuple(ambiguous))


def _alone_in_memory(model: nn.Module, source: State) -> dict[str, Tensor]:
    """The parameters that share no memory with another of the model, or that of the first model alone."""
    tensors = {name: each for name, each in tensors_of(model).items() if _has_memory(each)}
    once = {id(each): each for each in tensors.values()}
    users = Counter(each.untyped_storage().data_ptr() for each in once.values())
    of_first = {each.untyped_storage().data_ptr() for each in source.values() if _has_memory(each)}
    may = of_first | {place for place, count in users.items() if count == 1}
    return {
        name: each
        for name, each in tensors.items()
        if type(each) is nn.Parameter and each.untyped_storage().data_ptr() in may
    }


def _has_memory(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not is_lazy(tensor)


def _as_it_is(model: nn.Module) -> State:
    """The state of a model, with copies of the buffers, which a run may write into."""
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return {name: tensor.clone() if name in buffers else tensor for name, tensor in state_of(model).items()}


def in_words(weights: WeightMap) -> str:
    """What was moved and what was not."""
    text = f"{len(weights.moves)} of {weights.of} weights of the second are copies of the first's"
    checked = sum(move.proof == "run" for move in weights.moves)
    if checked:
        text += f", {checked} of them checked by the same input through both modules"
    text += _listed("left as they were", weights.left) + _listed("of the first not used", weights.unused)
    return text + _listed("could be others as well", weights.ambiguous)


def those_that_matter(runnable: Runnable, names: Sequence[str], seed: int) -> tuple[str, ...]:
    """Those of the weights by these names that the results of the model depend on, found by changing each."""
    floating = [
        name for name, tensor in state_of(runnable.model).items() if name in names and tensor.is_floating_point()
    ]
    if not floating:
        return ()
    before = results_with(runnable, seed, {})

    def matters(some: Sequence[str]) -> bool:
        after = results_with(runnable, seed, dict.fromkeys(some, None))
        return before is not None and after is not None and outputs_of(before, after).equal is False

    if not matters(floating):
        return ()
    return tuple(floating) if len(floating) > MOST_NAMED else tuple(name for name in floating if matters([name]))


def _by_name(source: State, target: State, maps: Sequence[str]) -> Moves:
    """The moves of the weights of the second model that have a namesake of their shape in the first."""
    old_names = renamed({name: name for name in source}, maps)
    return {
        name: Move(name, (Piece(old_names[name]),))
        for name, tensor in target.items()
        if name in old_names and source[old_names[name]].shape == tensor.shape
    }


def _by_running(
    source: State, before: Runnable, after: Runnable, given: Moves, seed: int, ran: tuple[Once, Once] | None
) -> WeightMap:
    """Move what is found as the second model runs; in a second run, what was left over at first is in its place."""
    target = state_of(after.model)
    made: Made = {}
    run = ran[0].run if ran is not None else run_copy(before, seed, ops=True)
    ours = units_of(run, before.model)
    theirs, start, found = settled_at_first(source, before, after, ours, given, seed, made)
    parameters = [name for name, _ in after.model.named_parameters(remove_duplicate=False) if name in target]
    if any(name not in found.moves for name in parameters):
        other = settled(source, before, after, (ours, theirs), given, start, seed, made, keeps_scale=False)
        found = other if len(other.moves) > len(found.moves) else found
    doubles: Doubles = {}
    by_ops = set[str]()
    rows_first = laid_out(before.model)

    def with_operations(found: Settled, given: Moves) -> Settled:
        """What is found once weights that are missing are looked for where operations use them."""
        runs = _all_steps(before, after, seed, doubles)
        steps = None
        ends = time.monotonic() + MOST_RUNS * run.trace.run.duration_us / 1e6 + MOST_SECONDS
        while any(name not in found.moves for name in parameters) and run.error is None and time.monotonic() < ends:
            proved = {name: move for name, move in found.moves.items() if move.proof == "run"}
            more: Moves = {}
            while not more and (steps := steps or next(runs, None)) is not None:
                more = move_at_ops(steps, source, after, {**proved, **given}, seed, doubles, rows_first)
                steps = steps if more else None
            if not more:
                break
            by_ops.update(more)
            given = {**given, **more}
            found = settled(source, before, after, (ours, without(theirs, given)), given, given, seed, made)
        return found

    found, doubtful = with_operations(found, given), set[str]()
    may_be_others = found.outside & forms_of(ours, source) or forms_outside(run.trace, ours, source) & forms_of(
        theirs, target
    )
    if run.error is None and may_be_others:
        values = values_of(found.moves.values(), source, shapes_of(target), made)
        if not agree(run.gave, results_with(after, seed, values)):
            more = move_at_ops(watch(before, seed, doubles).steps, source, after, given, seed, doubles, rows_first)
            if not _are_among(values_of(more.values(), source, shapes_of(target), made), values):
                more |= given
                by_ops.update(more)
                units = ours, without(theirs, more)
                found = with_operations(settled(source, before, after, units, more, more, seed, made), more)
            doubtful = {
                name
                for name, move in found.moves.items()
                if name not in more
                and form_of(target[name]) in may_be_others
                and likeness(_holder(name), _holder(move.pieces[0].name)) < BY_NAME
            }
    moves, ambiguous = found.moves, [*found.ambiguous, *sorted(doubtful)]
    moves |= {name: replace(moves[name], proof="place") for name in doubtful}
    if any(name not in moves for name in parameters):
        moves = as_in_other_layers(moves, source, target)
    weights = _apply(moves.values(), source, after.model, tuple(ambiguous), made, share=ran is not None)
    is_clear = not ambiguous and not any(map(_is_matrix, moves.values()))
    if run.error is not None or (is_clear and ran is None):  # to look at the results would take a run more
        return weights
    gave = ran[1].run.gave.items() if ran is not None else results_with(after, seed, {})
    if agree(run.gave, gave):
        return replace(weights, moves=_proved(weights.moves), ambiguous=())

    def settle(of: Moves, new: Moves) -> Moves:
        """The moves with new ones among them: those of units are found anew, those of operations stay."""
        start = {**{name: move for name, move in of.items() if name in by_ops}, **new, **given}
        units = ours, without(theirs, start)
        return {**of, **settled(source, before, after, units, start, start, seed, made).moves, **start}

    steps, shapes, does_agree = watch(before, seed, doubles).steps, shapes_of(target), False
    for place in range(MOST_ROUNDS):
        kept = {name: move for name, move in moves.items() if _is_sure(move)} | given
        again: Moves = {}
        if any(name not in kept for name, tensor in target.items() if tensor.is_floating_point()):
            again = move_at_ops(steps, source, after, kept, seed, doubles, rows_first)
            by_ops |= again.keys()
        if again:
            moves = settle(moves, again)
            does_agree = agree(run.gave, results_with(after, seed, values_of(moves.values(), source, shapes, made)))
        if does_agree or (place and not again):
            break
        exchanged = with_exchanges(moves, source, after, steps, run.gave, settle, seed, made)
        if exchanged is None:
            break
        are_new, moves, does_agree = exchanged.moves != moves, exchanged.moves, exchanged.do_agree
        ambiguous = [name for name in ambiguous if name not in {*exchanged.sure, *map(_holder, exchanged.sure)}]
        if does_agree or not are_new:
            break
    if not does_agree and (in_order := in_the_right_order(source, before.model, after, moves, run.gave, seed, made)):
        moves, does_agree = {move.target: move for move in in_order}, True
    if ran is not None:
        ran[1].forget()
    if does_agree:
        return _apply(_proved(moves.values()), source, after.model, (), made, share=ran is not None)
    moves |= {name: replace(moves[name], proof="place") for name in ambiguous if name in moves}
    return _apply(moves.values(), source, after.model, tuple(ambiguous), made, share=ran is not None)


def _is_sure(move: Move | None) -> bool:
    """Whether a check says where the weight comes from, or its name does."""
    if move is None or move.proof == "run":
        return move is not None
    return likeness(_holder(move.target), _holder(move.pieces[0].name)) >= BY_NAME


def _holder(name: str) -> str:
    """The module that holds a weight, or the weight itself if the model does."""
    return name.rpartition(".")[0] or name


def _are_among(some: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> bool:
    return all(name in values and torch.equal(each, values[name]) for name, each in some.items())


def _all_steps(before: Runnable, after: Runnable, seed: int, doubles: Doubles) -> Iterator[Steps]:
    """The steps of the first model; then with what it held in each of the time steps that the second works on."""
    yield watch(before, seed, doubles).steps
    cuts = cuts_into_rows(watch(after, seed, doubles).steps)
    yield from (watch(before, seed, doubles, parts_of=cut.parts_of).steps for cut in cuts[:MOST_CUTS])


def _proved(moves: Iterable[Move]) -> tuple[Move, ...]:
    """The moves, of which those of matrices in parts are proved by the run of the whole model."""
    return tuple(replace(move, proof="run") if _is_matrix(move) else move for move in moves)


def _is_matrix(move: Move) -> bool:
    return len(move.pieces) > 1 or any(piece.start is not None for piece in move.pieces)


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"; {len(names)} {what}: {first_few(list(names), MOST_NAMED)}"
