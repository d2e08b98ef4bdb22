"""The runs of all ranks of a program -> the run of one process that they together are, without one to go by.

What ranks give for other examples stands one after the other. What ranks of the same examples do not give alike, and
no DTensor says how it is placed, is not known: a part of a sum looks like a part of anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_numbers import INPUTS_AND_OUTPUTS
from fwdtrace.compare.programs.saved_step import SavedStep
from fwdtrace.compare.ranks.assembled import assembled_gradient, assembled_state, whole_leaves
from fwdtrace.compare.ranks.assembled_values import AssembledValues
from fwdtrace.compare.ranks.examples import Examples, examples_together
from fwdtrace.compare.ranks.pieces import RankPiece, of_mesh
from fwdtrace.trace import Call


def together(ranks: Sequence[SavedRun]) -> SavedRun:
    """One run of those of all ranks; the trace is that of the first, with the shapes of the whole."""
    values, examples = AssembledValues(), examples_together(ranks)
    places = [{(call.path, call.nth): call for call in side.trace.calls} for side in ranks]
    calls: list[Call] = []
    for call in ranks[0].trace.calls:
        own = [mine for calls_of in places if (mine := calls_of.get((call.path, call.nth))) is not None]
        if call.path is not None and len(own) == len(ranks):
            sides = []
            for side in INPUTS_AND_OUTPUTS:
                numbers = [each.values.side(mine, side) for each, mine in zip(ranks, own, strict=True)]
                alike = len({len(each) for each in numbers}) == 1
                sides.append(
                    [_whole(values, ranks, row, examples) for row in zip(*numbers, strict=True)] if alike else []
                )
            values.calls[call.id] = sides[0], sides[1]
            inputs, outputs = (
                whole_leaves(leaves, [None if at is None else values.about(at)["shape"] for at in numbers])
                for leaves, numbers in zip((call.inputs, call.outputs), sides, strict=True)
            )
            call = replace(call, inputs=inputs, outputs=outputs)
        calls.append(call)
    of_state, of_gradients = ranks[0].step.state, ranks[0].step.gradients
    state = {name: held for name in of_state if (held := assembled_state(values, ranks, name, {})) is not None}
    gradients = {name: held for name in of_gradients if (held := assembled_gradient(values, ranks, name)) is not None}
    return SavedRun(replace(ranks[0].trace, calls=tuple(calls)), values, SavedStep({}, state, gradients))


def _whole(
    values: AssembledValues, ranks: Sequence[SavedRun], numbers: Sequence[int | None], examples: Examples
) -> int | None:
    pieces = [RankPiece(side.values, at) for side, at in zip(ranks, numbers, strict=True) if at is not None]
    if len(pieces) < len(ranks) or not all(piece.has_elements for piece in pieces):
        return None
    dtype, shapes = pieces[0].about["dtype"], [piece.about["shape"] for piece in pieces]
    if all("placed" in piece.about for piece in pieces):
        return values.add(partial(of_mesh, pieces), pieces[0].about["placed"]["shape"], dtype)
    if len({piece.about["digest"] for piece in pieces}) == 1 and (examples.rows is None or not shapes[0]):
        return values.add(pieces[0].array, shapes[0], dtype)
    parts = [pieces[group[0]] for group in examples.groups]
    if examples.rows is None or any(
        pieces[rank].about["digest"] != part.about["digest"]
        for part, group in zip(parts, examples.groups, strict=True)
        for rank in group
    ):
        return None
    count = len(examples.rows)
    first = parts[0].about["shape"]
    if not first or first[0] % examples.lengths[0]:
        return None
    shape = [first[0] // examples.lengths[0] * count, *first[1:]]
    if any(part.about["shape"] != examples.shape(shape, number) for number, part in enumerate(parts)):
        return None
    return values.add(lambda: examples.together(shape, [part.array() for part in parts]), shape, dtype)
