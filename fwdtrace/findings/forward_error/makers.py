"""The layers that chose a size: followed back through what splits, merges and turns dimensions, as attention does."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from fwdtrace.findings.forward_error.origins import CHOOSE_THEIR_OUTPUT, is_chosen, joins, same_size
from fwdtrace.trace import Call, Op, Shape, TensorMeta, Trace
from fwdtrace.trace.values import tensors_in

MOST_STEPS = 64
_TURNING = ("transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT")


def makers_of_size(trace: Trace, leaf: TensorMeta, dimension: int, wanted: int) -> Iterator[tuple[str, str, int]]:
    """The path of each layer that may have chosen a size, the argument that says it, and what it has to be.

    A size that heads were split off is their number times the size of each; one that others were merged into is made
    by any of them.
    """
    yield from dict.fromkeys(_makers(trace, leaf, dimension % max(len(leaf.shape), 1), wanted, MOST_STEPS))


def _makers(trace: Trace, leaf: TensorMeta, dimension: int, wanted: int, steps: int) -> Iterator[tuple[str, str, int]]:
    event = trace.flow.producer(leaf)
    if event is None or event.error is not None or not steps:
        return
    if isinstance(event, Call) and event.class_name in CHOOSE_THEIR_OUTPUT and is_chosen(event, dimension, leaf):
        if event.path:
            yield event.path, CHOOSE_THEIR_OUTPUT[event.class_name], wanted
        return
    for part in tensors_in(event.inputs):
        if isinstance(event, Op) and joins(event):  # each part of a sum has a size of its own
            same = len(part.shape) == len(leaf.shape) and part.shape[dimension] == leaf.shape[dimension]
            before = [(dimension, wanted)] if same else []
        else:
            turns = isinstance(event, Op) and event.name.rpartition(".")[2] in _TURNING
            before = list(_before(part.shape, leaf.shape, dimension, wanted, turns=turns))
        for at, size in before:
            yield from _makers(trace, part, at, size, steps - 1)
        if before:
            return


def _before(before: Shape, after: Shape, dimension: int, wanted: int, *, turns: bool) -> Iterator[tuple[int, int]]:
    """Where a size of a tensor can have come from in one before it, and what that one has to be.

    `turns`: what made the one of the other puts its dimensions in another order.
    """
    size = after[dimension]
    old, new = _regrouped(before, after, dimension)
    if len(old) == 1 < len(new):  # it was split
        yield old[0], before[old[0]] // size * wanted
    elif len(new) == 1 < len(old):
        for at in old:
            others = size // before[at]
            if wanted % others == 0:
                yield at, wanted // others
    elif sorted(before) == sorted(after) and (turns or before != after):  # another one may be as large
        yield from ((at, wanted) for at, other in enumerate(before) if other == size)
    elif (same := same_size(before, size, dimension, len(after) - 1 - dimension)) is not None:
        yield same, wanted


def _regrouped(before: Shape, after: Shape, dimension: int) -> tuple[list[int], list[int]]:
    """The neighbouring dimensions before, and those after that were made of them, among which is this one.

    None if the elements are not the same or have only another order. Dimensions of size 1 are left out.
    """
    old = [at for at, size in enumerate(before) if size > 1]
    new = [at for at, size in enumerate(after) if size > 1]
    if prod(before) != prod(after) or sorted(before[at] for at in old) == sorted(after[at] for at in new):
        return [], []
    while new:
        ends = 1, 1
        while (one := prod(before[at] for at in old[: ends[0]])) != (other := prod(after[at] for at in new[: ends[1]])):
            ends = (ends[0] + (one < other), ends[1] + (one > other))
        if dimension in new[: ends[1]]:
            return old[: ends[0]], new[: ends[1]]
        old, new = old[ends[0] :], new[ends[1] :]
    return [], []
