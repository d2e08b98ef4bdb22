"""Where two runs part: the first call whose inputs agree and whose output does not, and what happens inside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from fwdtrace.compare.agreement import ComparedCalls
from fwdtrace.compare.align import Alignment, alike_at_both_ends
from fwdtrace.compare.comparison import Growth, Origin
from fwdtrace.compare.leaves import changed_arguments, class_or_op, outputs_begin_alike, with_number
from fwdtrace.trace import Call, Event, Op, Trace
from fwdtrace.trace.text import shapes_text

MOST_ROWS = 6


def with_unknown_inputs_decided(trace: Trace, compared: Sequence[ComparedCalls]) -> list[ComparedCalls]:
    """The same pairs with inputs that are not known taken for equal, until a call has ended whose outputs are not."""
    if all(pair.inputs_agree is not None for pair in compared):
        return list(compared)
    first = min((trace.end(pair.call) for pair in compared if not pair.outputs_agree), default=math.inf)
    return [
        pair if pair.inputs_agree is not None else replace(pair, inputs_agree=pair.call.id <= first)
        for pair in compared
    ]


def origin_of(
    before: Trace, after: Trace, compared: Sequence[ComparedCalls], alignment: Alignment
) -> tuple[Origin, ComparedCalls | None] | None:
    """The first call, as far inside as possible, whose inputs agree and whose output does not, and its pair.

    A call that only one side makes is it, without a pair, if those after it in the same caller get other inputs. None
    if there is no such call.
    """
    pair: ComparedCalls | None = None
    for candidate in compared:
        if not candidate.inputs_agree or candidate.outputs_agree:
            continue
        if pair is None or (pair.call.id < candidate.call.id <= before.end(pair.call)):
            pair = candidate
    if pair is None:
        return None
    alone = None if alignment.is_port else _left_out(before, after, pair, compared, alignment)
    if alone is not None:
        call, side = alone
        return Origin(call.path, call.nth, call.class_name, why=(f"it runs in the {side} only",)), None
    call, other = pair.call, pair.other
    other_path = other.path if other.path != call.path else None
    ended = tuple(_ended_otherwise(call, other, alignment.is_port))
    return Origin(call.path, call.nth, call.class_name, other_path, pair.apart, ended), pair


@dataclass(frozen=True)
class Parted:
    """Where inside an origin the numbers part, in words, and what first runs otherwise there on both sides."""

    reason: str
    one: Event | None = None
    other: Event | None = None


def parted_inside(
    before: Trace, after: Trace, origin: ComparedCalls, compared: Sequence[ComparedCalls]
) -> Parted | None:
    """For an origin that calls others, between which of them the numbers part, and what runs there if not the same."""
    if origin.apart is None:
        return None
    end = before.end(origin.call)
    inside = [pair for pair in compared if origin.call.id < pair.call.id <= end and not before.children(pair.call)]
    bad = next((pair for pair in inside if pair.inputs_apart is not None and not pair.inputs_agree), None)
    good = [pair for pair in inside if pair.outputs_agree and (bad is None or pair.call.id < bad.call.id)][-1:]
    if not good and bad is None:
        return None
    where = f"after {good[0].call.path}, whose output agrees" if good else "at its beginning"
    if good and bad is not None:
        where = f"between {good[0].call.path}, whose output agrees, and {bad.call.path}, whose input does not"
    elif bad is not None:
        where = f"before {bad.call.path}, whose input does not agree"
    ours = _run_between(before, origin.call, good[0].call if good else None, bad.call if bad else None)
    theirs = _run_between(after, origin.other, good[0].other if good else None, bad.other if bad else None)
    names = [[class_or_op(event) for event in events] for events in (ours, theirs)]
    alike, alike_at_end = alike_at_both_ends(*names)
    if names[0] == names[1]:
        for one, two in zip(ours, theirs, strict=True):
            changed, alone = changed_arguments(one, two) if isinstance(one, Op) else ([], [])
            if changed or alone:
                return Parted(f"they part {where}, in {class_or_op(one)}: {', '.join((*changed, *alone))}", one, two)
        return Parted(f"they part {where}")
    others = [events[alike : len(events) - alike_at_end] for events in (ours, theirs)]
    became = [_listed([with_number(event) for event in events]) for events in others]
    first = [next(iter(events), None) for events in others]
    return Parted(f"they part {where}: {became[0]} became {became[1]}", *first)


def growth_from(trace: Trace, origin: ComparedCalls | None, compared: Sequence[ComparedCalls]) -> tuple[Growth, ...]:
    """The distance at the origin, at a few calls after it, evenly chosen, and at the end of the model.

    `origin` is None where the origin is a call that only one side makes.
    """
    after = origin.call.id if origin else -1
    apart = [pair for pair in compared if pair.apart_at_all]
    later = [pair for pair in apart if pair.call.id > after and not trace.children(pair.call)]
    last = [pair for pair in apart if pair.call.parent is None][-1:]
    first = [origin] if origin is not None and origin.apart is not None else []
    room = MOST_ROWS - len(first) - len(last)
    step = max(1, -(-len(later) // room))
    rows = {pair.call.id: pair for pair in [*first, *later[::step], *last]}
    ordered = sorted(rows.values(), key=lambda pair: (trace.end(pair.call), -pair.call.id))
    return tuple(Growth(pair.call.path, pair.call.nth, pair.apart) for pair in ordered if pair.apart is not None)


def _ended_otherwise(call: Call, other: Call, is_port: bool) -> Iterator[str]:
    """How one of two calls ended and the other did not, in words: by what it raised, or with other shapes."""
    types = [ended.error.type if ended.error else None for ended in (call, other)]
    for raised, side in zip(types, ("first", "second"), strict=True):
        if raised is not None and types[0] != types[1]:
            yield f"it raised {raised} in the {side}"
    one, two = shapes_text(call.outputs), shapes_text(other.outputs)
    if types == [None, None] and one != two and not (is_port and outputs_begin_alike(call, other)):
        yield f"shape {one} became {two}"


def _run_between(trace: Trace, caller: Call, start: Call | None, stop: Call | None) -> list[Event]:
    """The outermost calls and ops below `caller` that begin after `start` has ended and end before `stop` begins."""
    around = {caller.id}
    for edge in (start, stop):
        if edge is not None:
            around.update(outer.id for outer in takewhile(lambda outer: outer.id != caller.id, trace.callers(edge)))
    first = caller.id if start is None else start.id
    last = trace.end(caller) + 1 if stop is None else stop.id
    return [
        event for event in trace.events if first < event.id < last and event.id not in around and event.parent in around
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_ROWS]) + (", …" if len(names) > MOST_ROWS else "") or "nothing"


def _left_out(
    before: Trace, after: Trace, within: ComparedCalls, compared: Sequence[ComparedCalls], alignment: Alignment
) -> tuple[Call, str] | None:
    """The first call below the pair that only one side makes, if nothing before it is already apart; and which side."""
    for trace, caller, alone, side in (
        (before, within.call, alignment.only_before, "first"),
        (after, within.other, alignment.only_after, "second"),
    ):
        below = {call.id for call in trace.walk(caller)}
        first = next((call for call in alone if call.id in below), None)
        if first is None:
            continue
        here = [(pair.call if side == "first" else pair.other, pair) for pair in compared]
        siblings = [(call, pair) for call, pair in here if call.parent == first.parent]
        if all(pair.outputs_agree for call, pair in siblings if call.id < first.id) and all(
            not pair.inputs_agree for call, pair in siblings[-1:] if call.id > first.id
        ):
            return first, side
    return None
