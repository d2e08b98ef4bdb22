"""A run of one process against that of many -> TraceComparison, in which what is wrong names its rank and its layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fwdtrace.compare.after_backward import factor_of
from fwdtrace.compare.assembled import Apart, Assembly, assemble
from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.difference import Difference, worst_first
from fwdtrace.compare.pieces import Piece, ranks_of_elements
from fwdtrace.compare.program_steps import compare_programs
from fwdtrace.compare.saved_backward import Side
from fwdtrace.compare.traces import How
from fwdtrace.trace.text import path_text

EXPECTED_OF_RANKS = frozenset(
    {"shape", "input shape", "op argument", "argument", "value", "hooks", "entry", "chain", "class", "parameters"}
    | {"placements", "input placements", "missing", "added", "ops", "seen inside", "not run", "flops", "backward"}
    | {"device", "input device", "requires_grad", "input requires_grad", "name", "layout", "input layout", "order"}
)
"""The kinds of difference that many processes bring with them, beside one."""
_FAR = 1e-3
"""How far a number is from the one that it should be, relative to the largest, if something is wrong with it."""
_ROUNDING = 1e-6
"""What no rank's part is apart by for another reason than rounding, relative to the largest element."""


def compare_with_ranks(
    steps: Iterable[tuple[Side, Sequence[Side]]], how: How, *, calls: bool = False
) -> TraceComparison:
    """Compare each step of one process with that of all ranks together; the first that is not the same leads.

    With `calls`, what is put together are not ranks, but the calls of one process in one step.
    """
    assemblies: list[tuple[Side, Assembly]] = []

    def together() -> Iterable[tuple[Side, Side]]:
        for reference, ranks in steps:
            assembly = assemble(reference, ranks, calls=calls)
            assemblies.append((reference, assembly))
            yield reference, assembly.side

    how = replace(how, expected=how.expected | EXPECTED_OF_RANKS, exact=False)
    found = compare_programs(together(), how)
    for reference, assembly in assemblies:  # what is wrong between ranks says more than what follows from it
        number = reference.trace.run.call
        later = found.origin is None or (found.origin.call or 0) >= (number or 0)
        wrong = _between_ranks(reference, assembly) if later else None
        if wrong is not None:
            origin, verdict, differences = wrong
            origin = replace(origin, call=number)
            return replace(
                found, verdict=verdict, origin=origin, differences=worst_first([*differences, *found.differences])
            )
        if found.origin is not None and found.origin.call == number:
            return _with_ranks(found, reference, assembly)
    notes = [note for _, assembly in assemblies[:1] for note in _notes(assembly, calls)]
    if found.equal:
        what = "calls of each step" if calls else "ranks"
        verdict = f"No difference found: the {what} together are the first, within rounding."
        return replace(found, verdict=verdict, notes=(*notes, *found.notes))
    return replace(found, notes=(*notes, *found.notes))


Wrong = tuple[Origin, str, list[Difference]]


def _between_ranks(reference: Side, assembly: Assembly) -> Wrong | None:
    """What ranks have otherwise than each other or than they should, the earliest in the step; None if nothing."""
    number = reference.trace.run.call or 1
    examples = assembly.examples
    if examples is not None and not examples.complete:
        missing = sum(place is None for place in examples.rows)
        ranks = [rank for rank, extra in enumerate(examples.extra) if extra]
        who = (
            f", while {_ranks(ranks)} {'has' if len(ranks) == 1 else 'have'} others or the same twice" if ranks else ""
        )
        text = (
            f"The ranks were given other examples at call {number}: {missing} of {len(examples.rows)} are missing{who}."
        )
        difference = Difference("examples", "numbers", "", "", "", text.rstrip("."))
        return Origin("", 1, why=(text,)), text, [difference]
    if assembly.state_apart:
        count = assembly.count
        origin, verdict, differences = _replicas(reference, assembly.state_apart, count, f"before call {number}", "")
        return origin, verdict[0].upper() + verdict[1:], differences
    return None


def _replicas(reference: Side, apart: Mapping[str, Apart], count: int, when: str, what: str) -> Wrong:
    """That ranks hold otherwise what should be the same on all."""
    name, first = next(iter(apart.items()))
    differences = [
        Difference("replica", "numbers", each, "", "", _held_otherwise(who, f"{what}{each}", count))
        for each, who in apart.items()
    ]
    path = _owner(reference, name)
    others = len(apart) - 1
    more = f" ({others} more parameters or buffers likewise)" if others else ""
    verdict = f"{_held_otherwise(first, f'{what}{name}', count)} {when}{more}."
    class_name = next((call.class_name for call in reference.trace.at(path)), "")
    why = (differences[0].message,)
    return Origin(path, 1, class_name, why=why, which="backward" if what else "weights"), verdict, differences


def _held_otherwise(apart: Apart, what: str, count: int) -> str:
    if len(apart.ranks) == count:
        return f"the ranks do not have the same {what}"
    who = _ranks(apart.ranks)
    if apart.lacking:
        return f"{who} {_has(apart.ranks)} no {what}, which the other ranks have"
    return f"{who} {_has(apart.ranks)} another {what} than the other ranks"


def _with_ranks(found: TraceComparison, reference: Side, assembly: Assembly) -> TraceComparison:
    """The comparison, with the ranks that its origin is on, and with what they have otherwise in backward."""
    origin = found.origin
    assert origin is not None
    if origin.which == "backward" or (origin.which == "forward" and found.equal):
        if assembly.gradients_apart:
            ordered = _in_backward_order(reference, assembly.gradients_apart)
            number = origin.call or 1
            after = f"after call {number}"
            own, verdict, differences = _replicas(reference, ordered, assembly.count, after, "gradient of ")
            verdict = f"Forward agrees; {verdict[:-1]}: it is not synchronised."
            ordered_differences = worst_first([*differences, *found.differences])
            return replace(found, verdict=verdict, origin=replace(own, call=number), differences=ordered_differences)
        factor = factor_of(reference, assembly.side)
        if factor is not None:
            scaled = f"all gradients are {factor:.4g} times those of the first: the loss or the mean is scaled so"
            return replace(found, verdict=f"Forward agrees; {scaled}.", origin=replace(origin, why=(scaled,)))
    if origin.which == "weights":
        return _with_ranks_of_shards(found, origin, reference, assembly)
    if origin.which != "forward":
        return found
    why: list[str] = []
    call = next((each for each in reference.trace.at(origin.path) if each.nth == origin.nth), None)
    ranks = _ranks_apart(assembly, call.id) if call is not None else []
    if ranks:
        why.append(f"on {_ranks(ranks)}")
    if call is not None:
        inside = [each for each in assembly.sums if call.id < each.id <= reference.trace.end(call)]
        why += [f"what {path_text(each.path)} gives on each rank is a part of a sum" for each in inside[:1]]
    if not why:
        return found
    verdict = f"{found.verdict} It is so {'; '.join(why)}." if ranks else f"{found.verdict} {why[0].capitalize()}."
    return replace(found, verdict=verdict, origin=replace(origin, why=(*origin.why, *why)))


def _with_ranks_of_shards(
    found: TraceComparison, origin: Origin, reference: Side, assembly: Assembly
) -> TraceComparison:
    """The comparison, with the ranks on which the elements of a sharded parameter are that are not the reference's."""
    name = origin.why[0]
    pieces, held = assembly.state.get(name), reference.step.state.get(name)
    if pieces is None or held is None or held.sample is None:
        return found
    wanted = reference.values.array(held.sample)
    whole = assembly.side.values.array(assembly.side.step.state[name].tensor)
    if wanted is None or wanted.shape != whole.shape:
        return found
    far = abs(wanted.astype("f8") - whole) > _FAR * float(abs(wanted).max(initial=0.0))
    ranks = sorted({int(rank) for rank in ranks_of_elements(pieces).reshape(-1)[far]})
    if not ranks:
        return found
    where = f"the wrong elements of {name} are on {_ranks(ranks)}"
    verdict = f"{found.verdict} {where[0].upper()}{where[1:]}."
    return replace(found, verdict=verdict, origin=replace(origin, why=(*origin.why, where)))


def _ranks_apart(assembly: Assembly, call: int) -> list[int]:
    """The ranks whose part of what a call gives is not that of the reference; none if all or it cannot be told."""
    apart: dict[int, float] = {}
    for (id, _), (whole, pieces) in assembly.pieces.items():
        for rank, piece in enumerate(pieces if id == call else ()):
            wanted, array = _part_of(whole, piece, rank, assembly), piece.array()
            if wanted is not None and array is not None and wanted.shape == array.shape:
                largest = float(abs(wanted).max(initial=0.0)) or 1.0
                by = float(abs(wanted.astype("f8") - array).max(initial=0.0)) / largest
                apart[rank] = max(apart.get(rank, 0.0), by)
    most = max(apart.values(), default=0.0)
    far = [rank for rank in sorted(apart) if apart[rank] > max(most / 10, _ROUNDING)]
    return far if len(far) < assembly.count else []


def _part_of(whole: Piece, piece: Piece, rank: int, assembly: Assembly) -> Any:
    """What the reference has in the place of a rank's part."""
    array, shape = whole.array(), piece.about["shape"]
    if "placed" in piece.about or array is None:
        return None
    if list(array.shape) == shape:
        return array
    examples = assembly.examples
    if examples is None or list(array.shape[1:]) != shape[1:] or len(array) % len(examples.rows):
        return None
    block = len(array) // len(examples.rows)
    rows = {
        own: row for row, place in enumerate(examples.rows) if place is not None for at, own in [place] if at == rank
    }
    if sorted(rows) != list(range(shape[0] // block)):
        return None
    import numpy

    return numpy.concatenate([array[rows[own] * block : (rows[own] + 1) * block] for own in sorted(rows)])


def _in_backward_order(reference: Side, apart: Mapping[str, Apart]) -> dict[str, Apart]:
    def order(name: str) -> int:
        orders = [
            call.backward.order for call in reference.trace.at(_owner(reference, name)) if call.backward is not None
        ]
        return min(orders, default=0)

    return {name: apart[name] for name in sorted(apart, key=order)}


def _owner(reference: Side, name: str) -> str:
    """The path of the innermost module that was called and holds a parameter."""
    path = name.rpartition(".")[0]
    while path and not reference.trace.at(path):
        path = path.rpartition(".")[0]
    return path


def _notes(assembly: Assembly, calls: bool) -> list[str]:
    examples = assembly.examples
    what = "call" if calls else "rank"
    notes = []
    copies = examples is not None and all(
        extra == 0 or all(place is None or place[0] != rank for place in examples.rows)
        for rank, extra in enumerate(examples.extra)
    )  # the ranks of tensor parallelism get the same examples
    if examples is not None and any(examples.extra) and not copies:
        padded = [f"{what} {number} {extra}" for number, extra in enumerate(examples.extra) if extra]
        notes.append(f"examples that others have too were left out: {', '.join(padded)}")
    if assembly.sums:
        names = ", ".join(path_text(call.path) for call in assembly.sums[:3])
        notes.append(f"what {names} gives on each {what} is a part of a sum, and was added up to be compared")
    return notes


def _ranks(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _has(ranks: Sequence[int]) -> str:
    return "has" if len(ranks) == 1 else "have"
