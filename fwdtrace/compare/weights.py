"""The weights of one model into another: by name where all have one, else by running both and checking each module."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fwdtrace.compare.known import known_of
from fwdtrace.compare.left_over import left_over
from fwdtrace.compare.light_copy import light_copy, put, tensors_of
from fwdtrace.compare.moving import Moving, move_while_running
from fwdtrace.compare.names import renamed
from fwdtrace.compare.outputs import outputs_of
from fwdtrace.compare.rounding import named_tensors
from fwdtrace.compare.runs import Runnable
from fwdtrace.compare.units import Unit, state_of, units_of
from fwdtrace.compare.weight_map import Move, Piece, WeightMap
from fwdtrace.compare.weight_values import Made, State, values_of
from fwdtrace.models.randomness import seed_all
from fwdtrace.trace.text import first_few

MOST_NAMED = 3
MOST_HEADS_TRIED = 6
MAX_BYTES = 2**30
Moves = dict[str, Move]


def copy_weights(before: Runnable, after: Runnable, maps: Sequence[str] = (), seed: int = 0) -> WeightMap:
    """Copy the parameters and buffers of the first model into the second; say what was copied and what was not.

    If every weight of the second has a namesake of its shape, after the maps, they go by name. Else copies of both
    models run: each module of the second that holds weights is given those of the modules of the first that are given
    the same, or that run in the same place under a like name, and is checked with them. What is left goes by its name
    or by a shape that nothing else has.
    """
    source, target = state_of(before.model), state_of(after.model)
    moves = _by_name(source, target, maps)
    ambiguous: tuple[str, ...] = ()
    made: Made = {}
    if len(moves) < len(target):
        try:
            moves, ambiguous = _by_running(before, after, moves if maps else {}, seed, made)
        except Exception:  # a model that cannot be copied; what it raises is said when it is compared
            moves |= left_over(source, target, moves)
    return apply(moves.values(), before.model, after.model, ambiguous, made)


def apply(
    moves: Iterable[Move],
    first: nn.Module,
    second: nn.Module,
    ambiguous: Sequence[str] = (),
    made: Made | None = None,
) -> WeightMap:
    """Write the moved weights into the second model; a move that does not fit is left out."""
    source, target = state_of(first), state_of(second)
    values = values_of(moves, source, {name: tensor.shape for name, tensor in target.items()}, made)
    done = {move.target: move for move in moves if move.target in values}
    with torch.no_grad():
        for name, value in values.items():
            target[name].copy_(value)
    by_memory = {_memory(target[name]): move for name, move in done.items()}
    for name in target:  # one tensor may have several names
        if name not in done and (tied := by_memory.get(_memory(target[name]))) is not None:
            done[name] = replace(tied, target=name)
    used = {_memory(source[name]) for move in done.values() for piece in move.pieces for name in piece.names}
    left = tuple(name for name in target if name not in done)
    unused = tuple(name for name in source if _memory(source[name]) not in used)
    rows = tuple(replace(move, shape=tuple(target[name].shape)) for name, move in done.items())
    return WeightMap(rows, len(target), left, unused, tuple(ambiguous))


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
    before = _results(runnable, seed, {})

    def matters(some: Sequence[str]) -> bool:
        after = _results(runnable, seed, dict.fromkeys(some, None))
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
    before: Runnable, after: Runnable, given: Moves, seed: int, made: Made
) -> tuple[Moves, tuple[str, ...]]:
    """The moves found as the second model runs; in a second run, what was left over at first is in its place."""
    source, target = state_of(before.model), state_of(after.model)
    ours, results = units_of(before, seed, MAX_BYTES // 2)
    theirs, _ = units_of(after, seed, MAX_BYTES // 2)
    start = dict(given)
    found, moves = Moving({}), start
    for _ in range(2):
        known = known_of(ours, before.model, source, made)
        found = move_while_running(known, after, _without(theirs, given), seed, start)
        moves = {**found.moves, **given}
        more = left_over(source, target, moves)
        moves |= more
        if len(found.moves) + len(given) == len(target) or not more:
            break
        start = {**given, **more}
    if results is None or not (found.ambiguous or any(map(_is_matrix, moves.values()))):
        return moves, tuple(found.ambiguous)
    proved = _the_right_order(before, after, moves, results, seed, made)
    return proved or moves, () if proved else tuple(found.ambiguous)


def _without(units: list[Unit], moves: Moves) -> list[Unit]:
    """The units that have not all of their weights by now."""
    return [unit for unit in units if not all(name in moves for name in unit.names.values())]


def _the_right_order(
    before: Runnable, after: Runnable, moves: Moves, results: dict[str, Tensor], seed: int, made: Made
) -> Moves | None:
    """The moves under which the second model gives the results of the first, if the fused matrices are in some order.

    As they are, they have one part below the other; else the parts may take turns head by head.
    """
    for heads in (None, *itertools.islice(_heads_in(before.model, after.model), MOST_HEADS_TRIED)):
        tried = moves if heads is None else {name: _head_by_head(move, heads) for name, move in moves.items()}
        if heads is not None and tried == moves:
            return None
        target = state_of(after.model)
        shapes = {name: each.shape for name, each in target.items()}
        values = values_of(tried.values(), state_of(before.model), shapes, made)
        gave = _results(after, seed, values)
        if gave is None:
            return None
        outputs = outputs_of(list(results.items()), gave)
        distances = [pair.apart.relative for pair in outputs.pairs if not pair.apart.same]
        if outputs.pairs and all(distance is not None and distance < 1e-4 for distance in distances):
            return {name: replace(move, proof="run") if _is_matrix(move) else move for name, move in tried.items()}
    return None


def _is_matrix(move: Move) -> bool:
    return len(move.pieces) > 1 or any(piece.start is not None for piece in move.pieces)


def _head_by_head(move: Move, heads: int) -> Move:
    if len(move.pieces) > 1 and all(piece.start is None for piece in move.pieces):
        return replace(move, heads=heads)
    if len(move.pieces) == 1 and move.pieces[0].start is not None:
        return replace(move, pieces=(replace(move.pieces[0], heads=heads),))
    return move


def _heads_in(*models: nn.Module) -> Iterator[int]:
    """The numbers of heads that the modules and their configurations speak of."""
    holders = (holder for model in models for module in model.modules() for holder in (module, _config(module)))
    found = (
        value
        for holder in holders
        for name, value in vars(holder).items()
        if "head" in name.lower() and type(value) is int and value > 1
    )
    return iter(dict.fromkeys(found))


def _config(module: nn.Module) -> object:
    """The configuration that a module of transformers holds; the module itself if it has none."""
    config = vars(module).get("config", module)
    return config if hasattr(config, "__dict__") else module


def _results(runnable: Runnable, seed: int, values: Mapping[str, Tensor | None]) -> list[tuple[str, Tensor]] | None:
    """What a copy of the model gives with these weights, or with noise in place of one; None if it raises."""
    try:
        model, args, kwargs = light_copy(runnable.model, runnable.args, runnable.kwargs)
        state = tensors_of(model)
        generator = torch.Generator().manual_seed(seed)
        seed_all(seed)
        with torch.no_grad():
            for name, value in values.items():
                noise = torch.randn(state[name].shape, generator=generator).to(state[name]) if value is None else value
                put(state[name], noise)
            return list(named_tensors(model(*args, **kwargs)).items())
    except Exception:  # the model is the user's
        return None


def _memory(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """What all names of one tensor have in common."""
    return tensor.data_ptr(), tuple(tensor.shape)


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"; {len(names)} {what}: {first_few(list(names), MOST_NAMED)}"
