"""The moves written into the second model -> WeightMap: what was copied, what was not, and what was not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fwdtrace.compare.two_models.light_copy import put, tensors_of
from fwdtrace.compare.weight_map import Move, WeightMap
from fwdtrace.compare.weights.units import state_of
from fwdtrace.compare.weights.uses_outside import memory_of
from fwdtrace.compare.weights.weight_values import Made, State, values_of


def written(
    moves: Iterable[Move],
    source: State,
    second: nn.Module,
    ambiguous: Sequence[str] = (),
    made: Made | None = None,
    *,
    share: bool = False,
) -> WeightMap:
    """Write the moved weights, and say what was moved.

    With `share`, a parameter that is moved as it is uses the first model's own memory.
    """
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
