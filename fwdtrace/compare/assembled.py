"""The runs of many ranks, or of many small batches -> one run as one process would have had it, of whole tensors.

What a DTensor says of its placement is followed. Of other tensors the run of one process decides, the reference: the
same shape is a replica, a part of a sum or of a mean, whichever gives the reference's numbers; a smaller shape is a
part along a dimension, along the first one the examples, which stand where the reference has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from fwdtrace.compare.pieces import Examples, Piece, by_examples, examples_of, is_by_examples, joined, of_mesh
from fwdtrace.compare.saved_backward import Side
from fwdtrace.compare.saved_step import SavedHeld, SavedStep
from fwdtrace.trace import Call, Leaf, TensorMeta

Make = Callable[[], Any]

SIDES: tuple[Literal["inputs", "outputs"], ...] = ("inputs", "outputs")


class AssembledValues:
    """The numbers of a run that were put together of those of many; each is made when it is asked for."""

    def __init__(self) -> None:
        self._makes: list[tuple[Make, list[int], str]] = []
        self._abouts: dict[int, dict[str, Any]] = {}
        self.calls: dict[int, tuple[list[int | None], list[int | None]]] = {}

    def add(self, make: Make, shape: list[int], dtype: str) -> int:
        """Another tensor by what makes its elements; its number."""
        self._makes.append((make, shape, dtype))
        return len(self._makes) - 1

    def side(self, call: Call, side: Literal["inputs", "outputs"]) -> list[int | None]:
        """The tensors on one side of a call."""
        return self.calls.get(call.id, ([], []))[side == "outputs"]

    def about(self, number: int) -> dict[str, Any]:
        """Shape, dtype and digest of a tensor."""
        if number not in self._abouts:
            make, shape, dtype = self._makes[number]
            digest = hashlib.blake2b(make().tobytes(), digest_size=16).hexdigest()
            self._abouts[number] = {"shape": shape, "dtype": dtype, "digest": digest, "stats": None}
        return self._abouts[number]

    def array(self, number: int) -> Any:
        """The elements, flat."""
        return self._makes[number][0]().reshape(-1)


@dataclass(frozen=True)
class Apart:
    """The ranks that do not hold what they should, or nothing, `lacking`; all of them if nobody can say which."""

    ranks: tuple[int, ...]
    lacking: bool = False


@dataclass
class Assembly:
    """One run of many, and what was found in putting it together.

    There were `count` ranks. `state_apart` and `gradients_apart` name the parameters, buffers and gradients that ranks
    hold otherwise though none of them says that it is a part. `sums` are the calls whose outputs are parts of a sum.
    `pieces` has, by the reference's call and the place of an output, that output and what each rank has of it, `state`
    what each has of a parameter that is a DTensor.
    """

    side: Side
    examples: Examples | None
    count: int
    state_apart: dict[str, Apart] = field(default_factory=dict)
    gradients_apart: dict[str, Apart] = field(default_factory=dict)
    sums: list[Call] = field(default_factory=list)
    pieces: dict[tuple[int, int], tuple[Piece, list[Piece]]] = field(default_factory=dict)
    state: dict[str, list[Piece]] = field(default_factory=dict)


def assemble(reference: Side, ranks: Sequence[Side], *, calls: bool = False) -> Assembly:
    """Put the runs of all ranks together as the reference has them; the trace is that of the first rank.

    With `calls`, they are calls of one process that follow each other in one step: the parameters are those before the
    first, the gradients have been added up by the last, and none of this is expected to be alike.
    """
    values = AssembledValues()
    examples = examples_of(reference, ranks)
    found = Assembly(Side(ranks[0].trace, values, SavedStep()), examples, len(ranks))
    places = [{(call.path, call.nth): call for call in side.trace.calls} for side in ranks]
    whole: dict[int, tuple[tuple[Leaf, ...], ...]] = {}
    for call in reference.trace.calls:
        own = [mine for calls_of in places if (mine := calls_of.get((call.path, call.nth))) is not None]
        if call.path is not None and len(own) == len(ranks):
            sides = [_assembled_side(found, values, reference, ranks, (call, own), side) for side in SIDES]
            values.calls[own[0].id] = sides[0], sides[1]
            whole[own[0].id] = tuple(map(_whole, (own[0].inputs, own[0].outputs), (call.inputs, call.outputs), sides))
    first, last = ([ranks[0]], [ranks[-1]]) if calls else (ranks, ranks)
    if not calls:
        found.state_apart = replicas_apart([side.step.state for side in ranks], ranks, reference)
        found.gradients_apart = replicas_apart([side.step.gradients for side in ranks], ranks, reference)
    state = {
        name: held
        for name in reference.step.state
        if (held := _assembled_state(values, first, name, found.state)) is not None
    }
    gradients = {
        name: held for name in reference.step.gradients if (held := _assembled_gradient(values, last, name)) is not None
    }
    rows = [
        replace(call, inputs=whole[call.id][0], outputs=whole[call.id][1]) if call.id in whole else call
        for call in ranks[0].trace.calls
    ]
    trace = replace(ranks[0].trace, calls=tuple(rows))
    found.side = Side(trace, values, SavedStep({}, state, gradients))
    return found


def _whole(leaves: tuple[Leaf, ...], wanted: tuple[Leaf, ...], numbers: list[int | None]) -> tuple[Leaf, ...]:
    """The leaves of a rank with the shapes of those that were put together."""
    shapes = [leaf.shape for leaf in wanted if isinstance(leaf, TensorMeta)]
    if len(shapes) != len(numbers):
        return leaves
    found = iter(zip(shapes, numbers, strict=True))
    whole: list[Leaf] = []
    for leaf in leaves:
        if isinstance(leaf, TensorMeta):
            shape, number = next(found, (leaf.shape, None))
            leaf = replace(leaf, shape=shape) if number is not None else leaf
        whole.append(leaf)
    return tuple(whole)


def _assembled_side(
    found: Assembly,
    values: AssembledValues,
    reference: Side,
    ranks: Sequence[Side],
    calls: tuple[Call, Sequence[Call]],
    side: Literal["inputs", "outputs"],
) -> list[int | None]:
    """The tensors that went into a call, or came out, each put together; None for one that cannot be."""
    call, own = calls
    wanted = reference.values.side(call, side)
    numbers = [each.values.side(mine, side) for each, mine in zip(ranks, own, strict=True)]
    if any(len(each) != len(wanted) for each in numbers):
        return []
    row: list[int | None] = []
    for place, number in enumerate(wanted):
        pieces = [
            Piece(each.values, had)
            for each, mine in zip(ranks, numbers, strict=True)
            if (had := mine[place]) is not None
        ]
        if number is None or len(pieces) < len(ranks):
            row.append(None)
            continue
        gave = call if side == "outputs" else None
        row.append(_assembled(values, Piece(reference.values, number), pieces, found.examples, found.sums, gave))
        if gave is not None:
            found.pieces[call.id, place] = Piece(reference.values, number), pieces
    return row


def replicas_apart(held: Sequence[Mapping[str, SavedHeld]], ranks: Sequence[Side], reference: Side) -> dict[str, Apart]:
    """The names that ranks hold otherwise, though no rank says that it has a part.

    Right is what the reference has, if a rank has that, else what most ranks have, else none.
    """
    apart = {}
    for name in dict.fromkeys(name for each in held for name in each):
        digests: list[str | None] = []
        for each, side in zip(held, ranks, strict=True):
            about = side.values.about(each[name].tensor) if name in each else None
            digests.append(None if about is None else "" if "placed" in about else about["digest"])
        if len(set(digests)) == 1:
            continue
        own = reference.step.state.get(name)
        right = reference.values.about(own.tensor)["digest"] if own is not None else None
        if right not in digests or right is None:
            most = max(digests, key=lambda digest: (digest is not None, digests.count(digest)))
            right = most if digests.count(most) * 2 > len(digests) or None in digests else ""
        wrong = tuple(rank for rank, digest in enumerate(digests) if digest != right)
        apart[name] = Apart(wrong, lacking=all(digests[rank] is None for rank in wrong))
    return apart


def _assembled_state(
    values: AssembledValues, ranks: Sequence[Side], name: str, held_by_rank: dict[str, list[Piece]]
) -> SavedHeld | None:
    """A parameter or buffer as a whole; None if some rank has none, or not all of its elements."""
    held = [side.step.state.get(name) for side in ranks]
    pieces = []
    for each, side in zip(held, ranks, strict=True):
        if each is None or each.sample is None:
            return None
        about = side.values.about(each.tensor)
        if side.values.about(each.sample)["shape"] != [_count(about["shape"])]:
            return None
        pieces.append(Piece(side.values, each.sample, about))
    about = pieces[0].about
    shape = about["placed"]["shape"] if "placed" in about else about["shape"]
    make = partial(of_mesh, pieces) if "placed" in about else pieces[0].array
    if "placed" in about:
        held_by_rank[name] = pieces
    return SavedHeld(values.add(make, shape, about["dtype"]), values.add(make, [_count(shape)], about["dtype"]))


def _assembled_gradient(values: AssembledValues, ranks: Sequence[Side], name: str) -> SavedHeld | None:
    """The gradient of a parameter as a whole; None if some rank has none."""
    held = [(each, side) for side in ranks if (each := side.step.gradients.get(name)) is not None]
    pieces = [Piece(side.values, each.tensor) for each, side in held]
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
    values: AssembledValues,
    whole: Piece,
    pieces: Sequence[Piece],
    examples: Examples | None,
    sums: list[Call],
    call: Call | None,
) -> int | None:
    """The number of a tensor that is put together of what the ranks have; None if that cannot be done."""
    if any(not piece.has_elements for piece in (whole, *pieces)):
        return None
    if all("placed" in piece.about for piece in pieces):
        return values.add(partial(of_mesh, pieces), pieces[0].about["placed"]["shape"], pieces[0].about["dtype"])
    shape, dtype = whole.about["shape"], pieces[0].about["dtype"]
    shapes = [piece.about["shape"] for piece in pieces]
    if any(len(each) != len(shape) for each in shapes):
        return None
    if all(each == shape for each in shapes):
        return values.add(_replica(whole, pieces, sums, call), shape, dtype)
    if examples is not None and is_by_examples(shape, shapes, examples):
        return values.add(lambda: by_examples(whole, pieces, examples), shape, dtype)
    dims = [dim for dim in range(len(shape)) if any(each[dim] != shape[dim] for each in shapes)]
    if len(dims) == 1 and sum(each[dims[0]] for each in shapes) == shape[dims[0]]:
        return values.add(lambda: joined(pieces, dims[0]), shape, dtype)
    return None


def _replica(whole: Piece, pieces: Sequence[Piece], sums: list[Call], call: Call | None) -> Make:
    """What makes one of tensors of the whole's shape: the first, or their sum or mean if that is what the whole is."""
    import numpy

    if len({piece.about["digest"] for piece in pieces}) == 1:
        return lambda: pieces[0].array()
    arrays, wanted = [piece.array() for piece in pieces], whole.array()
    if arrays[0].dtype.kind != "f":
        return lambda: pieces[0].array()
    added = numpy.sum([array.astype("f8") for array in arrays], 0)
    ways = {"first": arrays[0], "sum": added, "mean": added / len(arrays)}
    apart = {way: float(abs(array - wanted).max(initial=0.0)) for way, array in ways.items()}
    best = min(apart, key=lambda way: apart[way])
    if best == "sum" and call is not None and apart["sum"] * 100 < apart["first"]:
        sums.append(call)
    if best == "first" or not apart[best] * 10 < apart["first"]:
        return lambda: pieces[0].array()
    return lambda: ways[best].astype(arrays[0].dtype)
