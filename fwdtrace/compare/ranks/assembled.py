"""The runs of many ranks, or of many small batches -> one run as one process would have had it, of whole tensors.

What a DTensor says of its placement is followed. Of other tensors the run of one process decides, the reference: ranks
that have the same examples have replicas of what they compute, parts along a dimension, or parts of a sum or of a
mean, whichever gives the reference's numbers; what groups of ranks have of it stands where the reference has their
examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from fwdtrace.compare.numbers.distance import distance_of_arrays
from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_numbers import INPUTS_AND_OUTPUTS
from fwdtrace.compare.programs.saved_step import SavedHeld, SavedStep
from fwdtrace.compare.ranks.assembled_values import AssembledValues, Make
from fwdtrace.compare.ranks.examples import Examples, examples_of
from fwdtrace.compare.ranks.pieces import RankPiece, joined, of_mesh, sample_of
from fwdtrace.compare.ranks.replicas import Apart, replicas_apart
from fwdtrace.trace import Call, Leaf, TensorMeta


@dataclass
class Assembly:
    """One run of many, and what was found in putting it together.

    `sides` are the runs. `state_apart` and `gradients_apart` name the parameters, buffers and gradients that ranks hold
    otherwise though all have the whole or the same part. `sums` are the calls whose outputs are parts of a sum,
    `copies_apart` the ranks that compute something else of the same examples than others, by call. `pieces` has, by the
    reference's call and the place of an output, that output and what each rank has of it, `backward` the same of the
    gradients that came to outputs, `owners` which rank each element of the sample of a sharded parameter is on.
    """

    side: SavedRun
    sides: Sequence[SavedRun]
    examples: Examples
    state_apart: dict[str, Apart] = field(default_factory=dict)
    gradients_apart: dict[str, Apart] = field(default_factory=dict)
    sums: list[Call] = field(default_factory=list)
    copies_apart: dict[int, tuple[int, ...]] = field(default_factory=dict)
    pieces: dict[tuple[int, int], tuple[RankPiece, list[RankPiece]]] = field(default_factory=dict)
    backward: dict[tuple[int, int], tuple[RankPiece, list[RankPiece]]] = field(default_factory=dict)
    owners: dict[str, Any] = field(default_factory=dict)


def assemble(reference: SavedRun, ranks: Sequence[SavedRun], *, calls: bool = False) -> Assembly:
    """Put the runs of all ranks together as the reference has them; the trace is that of the first rank.

    With `calls`, they are calls of one process that follow each other in one step: the parameters are those before the
    first, the gradients have been added up by the last, and none of this is expected to be alike.
    """
    values = AssembledValues()
    found = Assembly(SavedRun(ranks[0].trace, values, SavedStep()), ranks, examples_of(reference, ranks))
    places = [{(call.path, call.nth): call for call in side.trace.calls} for side in ranks]
    whole: dict[int, tuple[tuple[Leaf, ...], ...]] = {}
    for call in reference.trace.calls:
        own = [mine for calls_of in places if (mine := calls_of.get((call.path, call.nth))) is not None]
        if call.path is not None and len(own) == len(ranks):
            sides = [_assembled_side(found, values, reference, (call, own), side) for side in INPUTS_AND_OUTPUTS]
            values.calls[own[0].id] = sides[0], sides[1]
            whole[own[0].id] = tuple(
                whole_leaves(mine, _shapes(leaves, numbers))
                for mine, leaves, numbers in zip(
                    (own[0].inputs, own[0].outputs), (call.inputs, call.outputs), sides, strict=True
                )
            )
            _keep_backward(found, reference, call, own)
    first, last = ([ranks[0]], [ranks[-1]]) if calls else (ranks, ranks)
    if not calls:
        found.state_apart = replicas_apart([side.step.state for side in ranks], ranks, reference)
        found.gradients_apart = replicas_apart([side.step.gradients for side in ranks], ranks, reference)
    state = {
        name: held
        for name in reference.step.state
        if (held := assembled_state(values, first, name, found.owners)) is not None
    }
    gradients = {
        name: held for name in reference.step.gradients if (held := assembled_gradient(values, last, name)) is not None
    }
    rows = [
        replace(call, inputs=whole[call.id][0], outputs=whole[call.id][1]) if call.id in whole else call
        for call in ranks[0].trace.calls
    ]
    trace = replace(ranks[0].trace, calls=tuple(rows))
    found.side = SavedRun(trace, values, SavedStep({}, state, gradients))
    return found


def _shapes(wanted: tuple[Leaf, ...], numbers: Sequence[int | None]) -> list[Sequence[int] | None]:
    """The shapes of the tensors that were put together, None for one that was not."""
    shapes = [leaf.shape for leaf in wanted if isinstance(leaf, TensorMeta)]
    if len(shapes) != len(numbers):
        return []
    return [None if number is None else shape for shape, number in zip(shapes, numbers, strict=True)]


def whole_leaves(leaves: tuple[Leaf, ...], shapes: Sequence[Sequence[int] | None]) -> tuple[Leaf, ...]:
    """The leaves of a rank with the shapes of those that were put together."""
    found = iter(shapes)
    whole: list[Leaf] = []
    for leaf in leaves:
        if isinstance(leaf, TensorMeta) and (shape := next(found, None)) is not None:
            leaf = replace(leaf, shape=tuple(shape))
        whole.append(leaf)
    return tuple(whole)


def _assembled_side(
    found: Assembly,
    values: AssembledValues,
    reference: SavedRun,
    calls: tuple[Call, Sequence[Call]],
    side: Literal["inputs", "outputs"],
) -> list[int | None]:
    """The tensors that went into a call, or came out, each put together; None for one that cannot be."""
    call, own = calls
    wanted = reference.values.side(call, side)
    numbers = [each.values.side(mine, side) for each, mine in zip(found.sides, own, strict=True)]
    if any(len(each) != len(wanted) for each in numbers):
        return []
    row: list[int | None] = []
    for place, number in enumerate(wanted):
        pieces = [
            RankPiece(each.values, had)
            for each, mine in zip(found.sides, numbers, strict=True)
            if (had := mine[place]) is not None
        ]
        if number is None or len(pieces) < len(found.sides):
            row.append(None)
            continue
        whole, gave = RankPiece(reference.values, number), call if side == "outputs" else None
        row.append(_assembled(values, whole, pieces, found, gave))
        if gave is not None:
            found.pieces[call.id, place] = whole, pieces
    return row


def _keep_backward(found: Assembly, reference: SavedRun, call: Call, own: Sequence[Call]) -> None:
    """Keep what came to the outputs of a call in backward, where all ranks have it."""
    rows = [each.step.backward.get(mine.id, []) for each, mine in zip(found.sides, own, strict=True)]
    for place, number in enumerate(reference.step.backward.get(call.id, [])):
        had = [row[place] if place < len(row) else None for row in rows]
        if number is not None and None not in had:
            pieces = [RankPiece(each.values, at) for each, at in zip(found.sides, had, strict=True) if at is not None]
            found.backward[call.id, place] = RankPiece(reference.values, number), pieces


def assembled_state(
    values: AssembledValues, ranks: Sequence[SavedRun], name: str, owners: dict[str, Any]
) -> SavedHeld | None:
    """A parameter or buffer, or its sample if it is large; None if some rank has none."""
    held = [side.step.state.get(name) for side in ranks]
    abouts, samples = [], []
    for each, side in zip(held, ranks, strict=True):
        sample = side.values.array(each.sample) if each is not None and each.sample is not None else None
        if each is None or sample is None:
            return None
        abouts.append(side.values.about(each.tensor))
        samples.append(sample)
    about, digest = abouts[0], abouts[0].get("digest")
    shape, sample = about["shape"], samples[0]
    if "placed" in about:
        together = (
            sample_of(list(zip(abouts, samples, strict=True))) if all("placed" in each for each in abouts) else None
        )
        if together is None:
            return None
        shape, digest, (sample, owners[name]) = about["placed"]["shape"], None, together
    number = values.add(lambda: sample, [len(sample)], about["dtype"])
    if len(sample) == _count(shape):
        return SavedHeld(values.add(lambda: sample, shape, about["dtype"]), number)
    return SavedHeld(values.add_known(shape, about["dtype"], digest), number)


def assembled_gradient(values: AssembledValues, ranks: Sequence[SavedRun], name: str) -> SavedHeld | None:
    """The gradient of a parameter as a whole; None if some rank has none."""
    held = [(each, side) for side in ranks if (each := side.step.gradients.get(name)) is not None]
    pieces = [RankPiece(side.values, each.tensor) for each, side in held]
    if len(pieces) < len(ranks) or any(not piece.has_elements for piece in pieces):
        return None
    about = pieces[0].about
    if "placed" in about:
        return SavedHeld(values.add(partial(of_mesh, pieces), about["placed"]["shape"], about["dtype"]))
    return SavedHeld(values.add(pieces[0].array, about["shape"], about["dtype"]))


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _assembled(
    values: AssembledValues, whole: RankPiece, pieces: Sequence[RankPiece], found: Assembly, call: Call | None
) -> int | None:
    """The number of a tensor that is put together of what the ranks have; None if that cannot be done."""
    if any(not piece.has_elements for piece in (whole, *pieces)):
        return None
    if all("placed" in piece.about for piece in pieces):
        return values.add(partial(of_mesh, pieces), pieces[0].about["placed"]["shape"], pieces[0].about["dtype"])
    shape, dtype, examples = whole.about["shape"], pieces[0].about["dtype"], found.examples
    if examples.rows is not None and all(piece.about["shape"] == shape for piece in pieces):
        return values.add(_replica(whole.array(), pieces, found, call)[0], shape, dtype)
    makes: list[Make] = []
    for number, group in enumerate(examples.groups):
        mine, wanted = [pieces[rank] for rank in group], examples.shape(shape, number)
        if wanted is None or any(len(piece.about["shape"]) != len(wanted) for piece in mine):
            return None
        if all(piece.about["shape"] == wanted for piece in mine):
            part = examples.part(whole.array(), number) if len(mine) > 1 else None
            make, apart = _replica(part, mine, found, call)
            if apart and call is not None:
                found.copies_apart[call.id] = tuple(group[place] for place in apart)
        else:
            dims = [dim for dim, size in enumerate(wanted) if any(piece.about["shape"][dim] != size for piece in mine)]
            if len(dims) != 1 or sum(piece.about["shape"][dims[0]] for piece in mine) != wanted[dims[0]]:
                return None
            make = partial(joined, mine, dims[0])
        makes.append(make)
    return values.add(lambda: examples.together(shape, [make() for make in makes]), shape, dtype)


def _replica(wanted: Any, pieces: Sequence[RankPiece], found: Assembly, call: Call | None) -> tuple[Make, list[int]]:
    """What makes one of tensors of one shape: the first, or their sum or mean if that is what is wanted.

    If one of them is what is wanted, and others that should be the same are not, these come second.
    """
    import numpy

    if len({piece.about["digest"] for piece in pieces}) == 1 or wanted is None:
        return pieces[0].array, []
    arrays = [piece.array() for piece in pieces]
    if arrays[0].dtype.kind != "f":
        return pieces[0].array, []
    added = numpy.sum([array.astype("f8") for array in arrays], 0)
    apart = [float(abs(array - wanted).max(initial=0.0)) for array in (*arrays, added, added / len(arrays))]
    first, (of_sum, of_mean) = min(range(len(arrays)), key=lambda place: apart[place]), apart[-2:]
    if min(of_sum, of_mean) * 10 < apart[first]:
        if of_sum < of_mean and call is not None and of_sum * 100 < apart[0]:
            found.sums.append(call)
        made = (added if of_sum < of_mean else added / len(arrays)).astype(arrays[0].dtype)
        return lambda: made, []
    others = []
    if _close(pieces[0], wanted, arrays[first]):  # else all of them are apart already from what they should be
        others = [place for place, array in enumerate(arrays) if not _close(pieces[0], arrays[first], array)]
    return pieces[first].array, others


def _close(piece: RankPiece, one: Any, other: Any) -> bool:
    dtype = piece.about["dtype"]
    return distance_of_arrays(one.astype("f8").reshape(-1), other.astype("f8").reshape(-1), (dtype, dtype)).close
