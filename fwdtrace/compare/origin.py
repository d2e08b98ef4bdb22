"""Where two runs part, and how the difference grows from there: calls judged in pairs -> Origin and Growth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwdtrace.compare.align import Alignment, alike_at_both_ends, give_alike, shapes_in_words
from fwdtrace.compare.comparison import Apart, Growth, Origin
from fwdtrace.trace import Call, Op, Trace

MOST_ROWS = 6


@dataclass(frozen=True)
class Judged:
    """Two calls that belong together: whether their inputs and outputs agree, and how far the outputs are apart.

    `inputs` is None if their numbers are not known; `into` is how far they are apart.
    """

    call: Call
    other: Call
    inputs: bool | None
    outputs: bool
    apart: Apart | None
    into: Apart | None = None


def when_inputs_are_unknown(trace: Trace, judged: Sequence[Judged]) -> list[Judged]:
    """The same with inputs taken for equal until the first call has ended whose outputs are not."""
    if all(each.inputs is not None for each in judged):
        return list(judged)
    ends = _ends(trace)
    differing = [each.call for each in judged if not each.outputs]
    first = min((ends[call.id] for call in differing), default=len(ends))
    return [each if each.inputs is not None else replace(each, inputs=each.call.id <= first) for each in judged]


def origin_of(before: Trace, after: Trace, judged: Sequence[Judged], found: Alignment) -> Origin | None:
    """The first call, innermost, whose inputs agree and whose output does not; None if there is none.

    A call that only one side makes is it, if those after it in the same caller get other inputs.
    """
    ends = _ends(before)
    chosen: Judged | None = None
    for each in judged:
        if not each.inputs or each.outputs:
            continue
        if chosen is None or (chosen.call.id < each.call.id <= ends[chosen.call.id]):
            chosen = each
    if chosen is None:
        return None
    alone = None if found.is_port else _left_out(before, after, chosen, judged, found)
    if alone is not None:
        call, side = alone
        return Origin(call.path, call.nth, call.class_name, why=(f"it runs in the {side} only",))
    call, other = chosen.call, chosen.other
    path = other.path if other.path != call.path else None
    return Origin(call.path, call.nth, call.class_name, path, chosen.apart, tuple(_ended(call, other, found.is_port)))


def _ended(call: Call, other: Call, is_port: bool) -> Iterator[str]:
    """How one of two calls ended and the other did not, in words: by what it raised, or with other shapes."""
    types = [each.error.type if each.error else None for each in (call, other)]
    for raised, side in zip(types, ("first", "second"), strict=True):
        if raised is not None and types[0] != types[1]:
            yield f"it raised {raised} in the {side}"
    one, two = (shapes_in_words(each.outputs) for each in (call, other))
    if types == [None, None] and one != two and not (is_port and give_alike(call, other)):
        yield f"shape {one} became {two}"


def parting_within(before: Trace, after: Trace, origin: Origin, judged: Sequence[Judged]) -> Iterator[str]:
    """Of an origin that calls others: between which of them the numbers part, and what runs there if not the same."""
    ends = _ends(before)
    holder = _pair_of(origin, judged)
    if holder is None or holder.apart is None:
        return
    inner = {call.parent for call in before.calls}
    inside = [each for each in judged if holder.call.id < each.call.id <= ends[holder.call.id]]
    leaves = [each for each in inside if each.call.id not in inner]
    bad = next((each for each in leaves if each.into is not None and not each.inputs), None)
    good = [each for each in leaves if each.outputs and (bad is None or each.call.id < bad.call.id)][-1:]
    if not good and bad is None:
        return
    where = f"after {good[0].call.path}, whose output agrees" if good else "at its beginning"
    if good and bad is not None:
        where = f"between {good[0].call.path}, whose output agrees, and {bad.call.path}, whose input does not"
    elif bad is not None:
        where = f"before {bad.call.path}, whose input does not agree"
    ours = _run_between(before, holder.call, good[0].call if good else None, bad.call if bad else None)
    theirs = _run_between(after, holder.other, good[0].other if good else None, bad.other if bad else None)
    start, end = alike_at_both_ends(ours, theirs)
    changed = [_listed(names[start : len(names) - end]) for names in (ours, theirs)]
    yield f"they part {where}" + (f": {changed[0]} became {changed[1]}" if ours != theirs else "")


def _run_between(trace: Trace, holder: Call, start: Call | None, stop: Call | None) -> list[str]:
    """The outermost calls and ops below `holder` that begin after `start` has ended and end before `stop` begins."""
    rows: tuple[Call | Op, ...] = (*trace.calls, *(trace.ops or ()))
    events = {row.id: row for row in rows}
    around = {holder.id}
    for edge in (start, stop):
        above = edge.parent if edge is not None else None
        while above is not None and above not in around:
            around.add(above)
            above = events[above].parent
    first = holder.id if start is None else start.id
    last = max(events) + 1 if stop is None else stop.id
    between = (events[id] for id in sorted(events) if first < id < last and id not in around)
    return [event.class_name if isinstance(event, Call) else event.name for event in between if event.parent in around]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_ROWS]) + (", …" if len(names) > MOST_ROWS else "") or "nothing"


def _pair_of(origin: Origin, judged: Sequence[Judged]) -> Judged | None:
    return next((each for each in judged if (each.call.path, each.call.nth) == (origin.path, origin.nth)), None)


def growth_from(trace: Trace, origin: Origin | None, judged: Sequence[Judged]) -> tuple[Growth, ...]:
    """The distance at the origin, at a few calls after it, evenly chosen, and at the end of the model."""
    if origin is None:
        return ()
    ends = _ends(trace)
    inner = {call.parent for call in trace.calls}
    start = _pair_of(origin, judged)
    after = start.call.id if start else -1
    later = [
        each
        for each in judged
        if each.apart is not None and not each.apart.same and each.call.id > after and each.call.id not in inner
    ]
    last = [each for each in judged if each.apart is not None and each.call.parent is None and not each.apart.same]
    first = [start] if start is not None and start.apart is not None else []
    room = MOST_ROWS - len(first) - len(last[-1:])
    step = max(1, -(-len(later) // room))
    rows = {each.call.id: each for each in [*first, *later[::step], *last[-1:]]}
    ordered = sorted(rows.values(), key=lambda each: (ends[each.call.id], -each.call.id))
    return tuple(Growth(each.call.path, each.call.nth, each.apart) for each in ordered if each.apart is not None)


def _ends(trace: Trace) -> dict[int, int]:
    """For each call the id of the last call below it, its own if there is none: where it ends."""
    ends = {call.id: call.id for call in trace.calls}
    for call in reversed(trace.calls):
        if call.parent is not None:
            ends[call.parent] = max(ends[call.parent], ends[call.id])
    return ends


def _left_out(
    before: Trace, after: Trace, within: Judged, judged: Sequence[Judged], found: Alignment
) -> tuple[Call, str] | None:
    """The first call below the one given that only one side makes, if nothing before it is already apart."""
    for trace, holder, calls, side in (
        (before, within.call, found.only_before, "first"),
        (after, within.other, found.only_after, "second"),
    ):
        below = {call.id for call in trace.walk(holder)}
        calls_here = [call for call in calls if call.id in below]
        if not calls_here:
            continue
        first = calls_here[0]
        here = [(each.call if side == "first" else each.other, each) for each in judged]
        children = [(call, each) for call, each in here if call.parent == first.parent]
        if all(each.outputs for call, each in children if call.id < first.id) and all(
            not each.inputs for call, each in children[-1:] if call.id > first.id
        ):
            return first, side
    return None
