"""A run of one process against that of many -> TraceComparison, in which what is wrong names its rank and its layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.difference import worst_first
from fwdtrace.compare.programs.after_backward import factor_of
from fwdtrace.compare.programs.program_steps import compare_programs
from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.ranks.assembled import Assembly, assemble
from fwdtrace.compare.ranks.between_ranks import (
    Wrong,
    modes_apart,
    optimizers_apart,
    owner_of,
    ranks_text,
    replicas,
    settings_apart,
    wrong_before,
    wrong_copies,
)
from fwdtrace.compare.ranks.rank_gradients import came_otherwise, part_of
from fwdtrace.compare.ranks.replicas import Apart
from fwdtrace.compare.ranks.wrong_element import wrong_element
from fwdtrace.compare.traces import How
from fwdtrace.trace import Call, Trace, tensors_in
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
_SETTINGS = ("optimizer", "torch", "autocast", "machine")
"""How the names of those settings begin that ranks should have alike; each has its own seed and threads."""


def compare_with_ranks(
    steps: Iterable[tuple[SavedRun, Sequence[SavedRun]]], how: How, *, calls: bool = False
) -> TraceComparison:
    """Compare each step of one process with that of all ranks together; the first that is not the same leads.

    With `calls`, what is put together are not ranks, but the calls of one process in one step.
    """
    assemblies: list[tuple[SavedRun, Assembly]] = []

    def together() -> Iterable[tuple[SavedRun, SavedRun]]:
        for reference, ranks in steps:
            assembly = assemble(reference, ranks, calls=calls)
            assemblies.append((reference, assembly))
            yield reference, assembly.side

    how = replace(how, expected=how.expected | EXPECTED_OF_RANKS, exact=False)
    found = compare_programs(together(), how)
    before: Assembly | None = None
    for reference, assembly in assemblies:  # what is wrong between ranks says more than what follows from it
        number = reference.trace.run.call
        later = found.origin is None or (found.origin.call or 0) >= (number or 0)
        wrong = _between_ranks(found, reference, assembly, before) if later else None
        if wrong is not None:
            origin, verdict, differences = wrong
            origin = replace(origin, call=number)
            notes = [*modes_apart([side.trace for side in assembly.sides]), *_not_compared(reference, assembly)]
            return replace(
                found,
                verdict=verdict,
                origin=origin,
                differences=worst_first([*differences, *found.differences]),
                notes=(*notes, *found.notes),
            )
        if found.origin is not None and found.origin.call == number:
            notes = [*_not_compared(reference, assembly), *found.notes]
            return _with_ranks(replace(found, notes=tuple(notes)), reference, assembly, before)
        before = assembly
    notes = [note for _, assembly in assemblies[:1] for note in _notes(assembly, calls)]
    if found.equal:
        what = "calls of each step" if calls else "ranks"
        verdict = f"No difference found: the {what} together are the first, within rounding."
        verdict += "".join(f" {said}." for said in _not_compared(*assemblies[0]))
        return replace(found, verdict=verdict, notes=(*notes, *found.notes))
    notes += _not_compared(*assemblies[0])
    return replace(found, notes=(*notes, *found.notes))


def _between_ranks(
    found: TraceComparison, reference: SavedRun, assembly: Assembly, before: Assembly | None
) -> Wrong | None:
    """What ranks have otherwise than each other or than they should, the earliest in the step; None if nothing."""
    wrong = wrong_before(reference, assembly, before)
    copies = wrong_copies(reference, assembly) if wrong is None else None
    if copies is None or found.origin is None or found.origin.call != reference.trace.run.call:
        return wrong or copies
    if found.origin.which == "backward":
        return copies
    ends = [_end_of(reference, origin) for origin in (copies[0], found.origin)]
    return copies if found.origin.which == "forward" and ends[0] <= ends[1] else None


def _not_compared(reference: SavedRun, assembly: Assembly) -> Iterator[str]:
    """What is said of the calls that all have, and of which no whole is known that could be compared."""
    own = {(call.path, call.nth): call for call in assembly.side.trace.calls}
    calls = []
    for call in reference.trace.calls:
        other = own.get((call.path, call.nth))
        if call.path is None or other is None or not tensors_in(call.outputs):
            continue
        ours, theirs = reference.values.side(call, "outputs"), assembly.side.values.side(other, "outputs")
        if None in (*ours, *theirs) or not len(ours) == len(theirs) > 0:
            calls.append(call)
    if calls:
        first = path_text(min(calls, key=lambda call: (reference.trace.end(call), -call.id)).path)
        what = f"{first} gives" if len(calls) == 1 else f"{len(calls)} calls give, {first} first,"
        yield f"What {what} could not be put together from the ranks, and was not compared"


def _end_of(reference: SavedRun, origin: Origin) -> int:
    call = _call_of(reference, origin)
    return reference.trace.end(call) if call is not None else 0


def _call_of(reference: SavedRun, origin: Origin) -> Call | None:
    return next((each for each in reference.trace.at(origin.path) if each.nth == origin.nth), None)


def _with_ranks(
    found: TraceComparison, reference: SavedRun, assembly: Assembly, before: Assembly | None
) -> TraceComparison:
    """The comparison, with the ranks that its origin is on, and with what they have otherwise in backward."""
    origin = found.origin
    assert origin is not None
    if origin.which == "backward" or (origin.which == "forward" and found.equal):
        if assembly.gradients_apart:
            ordered = _in_backward_order(reference, assembly.gradients_apart)
            number = origin.call or 1
            after = f"after call {number}"
            own, verdict, differences = replicas(reference, ordered, after, "gradient of ")
            verdict = f"Forward agrees; {verdict[:-1]}: it is not synchronised."
            ordered_differences = worst_first([*differences, *found.differences])
            return replace(found, verdict=verdict, origin=replace(own, call=number), differences=ordered_differences)
        came = came_otherwise(reference, assembly)
        if came is not None:
            where, said = came
            own = Origin(where.path, where.nth, where.class_name, why=(said,), which="backward", call=origin.call)
            return replace(found, verdict=f"Forward agrees; {said}.", origin=own)
        factor = factor_of(reference, assembly.side)
        if factor is not None:
            scaled = f"all gradients are {factor:.4g} times those of the first: the loss or the mean is scaled so"
            return replace(found, verdict=f"Forward agrees; {scaled}.", origin=replace(origin, why=(scaled,)))
        if assembly.backward:
            said = "the gradients that came to each call agree on all ranks: they part in how ranks put them together"
            verdict = f"{found.verdict.rstrip('.')}; {said}, or after that."
            return replace(found, verdict=verdict, origin=replace(origin, why=(*origin.why, said)))
    if origin.which == "weights":
        found = _with_ranks_of_shards(found, origin, reference, assembly)
        return replace(found, verdict=found.verdict + optimizers_apart(before))
    if origin.which != "forward":
        return found
    why: list[str] = []
    call = _call_of(reference, origin)
    ranks = _ranks_apart(assembly, call.id) if call is not None else []
    if ranks:
        why.append(f"on {ranks_text(ranks)}")
    why += modes_apart([side.trace for side in assembly.sides], ranks)
    if call is not None and (element := wrong_element(reference, assembly, call)) is not None:
        why.append(element)
    if call is not None and _is_normalized_by_rank(call, assembly):
        why.append(normalized_in_parts([side.trace for side in assembly.sides]))
    if call is not None:
        inside = [each for each in assembly.sums if call.id < each.id <= reference.trace.end(call)]
        why += [f"what {path_text(each.path)} gives on each rank is a part of a sum" for each in inside[:1]]
    if not why:
        return found
    said = "; ".join(why)
    verdict = f"{found.verdict} It is so {said}." if ranks else f"{found.verdict} {said[0].upper()}{said[1:]}."
    return replace(found, verdict=verdict, origin=replace(origin, why=(*origin.why, *why)))


def _with_ranks_of_shards(
    found: TraceComparison, origin: Origin, reference: SavedRun, assembly: Assembly
) -> TraceComparison:
    """The comparison, with the ranks on which the elements of a sharded parameter are that are not the reference's."""
    name = origin.why[0]
    ranks_of, held = assembly.owners.get(name), reference.step.state.get(name)
    if ranks_of is None or held is None or held.sample is None:
        return found
    wanted, other = reference.values.array(held.sample), assembly.side.step.state[name].sample
    whole = assembly.side.values.array(other) if other is not None else None
    if wanted is None or whole is None or wanted.shape != whole.shape:
        return found
    far = abs(wanted.astype("f8") - whole) > _FAR * float(abs(wanted).max(initial=0.0))
    ranks = sorted({int(rank) for rank in ranks_of[far]})
    if not ranks:
        return found
    where = f"the wrong elements of {name} are on {ranks_text(ranks)}"
    verdict = f"{found.verdict} {where[0].upper()}{where[1:]}."
    return replace(found, verdict=verdict, origin=replace(origin, why=(*origin.why, where)))


def _ranks_apart(assembly: Assembly, call: int) -> list[int]:
    """The ranks whose part of what a call gives is not that of the reference; none if all or it cannot be told."""
    apart: dict[int, float] = {}
    for (id, _), (whole, pieces) in assembly.pieces.items():
        for rank, piece in enumerate(pieces if id == call else ()):
            wanted, array = part_of(whole, piece, rank, assembly.examples), piece.array()
            if wanted is not None and array is not None and wanted.shape == array.shape:
                largest = float(abs(wanted).max(initial=0.0)) or 1.0
                by = float(abs(wanted.astype("f8") - array).max(initial=0.0)) / largest
                apart[rank] = max(apart.get(rank, 0.0), by)
    most = max(apart.values(), default=0.0)
    far = [rank for rank in sorted(apart) if apart[rank] > max(most / 10, _ROUNDING)]
    return far if len(far) < len(assembly.sides) else []


def normalized_in_parts(traces: Sequence[Trace]) -> str:
    """That a normalization sees the examples of one rank, or of one small batch of a step, and not all of them."""
    if all(trace.run.rank is None for trace in traces):
        return "each small batch of a step is normalized by its own examples alone"
    return "each rank normalizes by its own examples alone, which SyncBatchNorm does by all"


def _is_normalized_by_rank(call: Call, assembly: Assembly) -> bool:
    """Whether a batch normalization gives, of the part of the examples on each rank, the same mean for each channel."""
    if "BatchNorm" not in call.class_name or assembly.examples.rows is None:
        return False
    _, pieces = assembly.pieces.get((call.id, 0), (None, []))
    arrays = [piece.array() for piece in pieces]
    if len(arrays) < 2 or any(array is None or array.ndim < 2 for array in arrays):
        return False
    means = [array.astype("f8").mean((0, *range(2, array.ndim))) for array in arrays]
    return all(float(abs(mean - means[0]).max()) < _FAR * float(abs(arrays[0]).max(initial=0.0)) for mean in means)


def _in_backward_order(reference: SavedRun, apart: Mapping[str, Apart]) -> dict[str, Apart]:
    def order(name: str) -> int:
        orders = [
            call.backward.order for call in reference.trace.at(owner_of(reference, name)) if call.backward is not None
        ]
        return min(orders, default=0)

    return {name: apart[name] for name in sorted(apart, key=order)}


def _notes(assembly: Assembly, calls: bool) -> list[str]:
    examples = assembly.examples
    what = "call" if calls else "rank"
    notes = []
    if examples.rows is not None:
        padded = [
            f"{what} {group[0]} {extra}"
            for number, group in enumerate(examples.groups)
            if (extra := examples.extra(number))
        ]
        if padded:
            notes.append(f"examples that others have too were left out: {', '.join(padded)}")
    if assembly.sums:
        names = ", ".join(path_text(call.path) for call in assembly.sums[:3])
        notes.append(f"what {names} gives on each {what} is a part of a sum, and was added up to be compared")
    if not calls:
        traces = [side.trace for side in assembly.sides]
        notes += [*modes_apart(traces), *settings_apart(traces, _SETTINGS)]
    return notes
