"""Where two runs part by the order of elements alone, and the Origin that is made of two events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fwdtrace.compare.comparison import Origin
from fwdtrace.compare.leaves import class_or_op
from fwdtrace.compare.parting.departure import Departure, Side, departure_of
from fwdtrace.compare.parting.reasons import ORDERS, with_line
from fwdtrace.compare.parting.steps import Step
from fwdtrace.compare.traces import Partner
from fwdtrace.trace import Call, Event, Site

OTHER_ORDER = "it gives the same elements in another order"


def by_order(before: Side, after: Side, pairs: Sequence[tuple[int, int]], partner: Partner) -> Origin | None:
    """The step that gives the same elements in an order that the other run never has."""
    theirs = departure_of(after, (number for _, number in pairs), order=True)
    ours = departure_of(before, (number for number, _ in pairs), order=True)
    reason = [OTHER_ORDER]
    if theirs is not None and (ours is None or _only_orders(theirs, after) or not _only_orders(ours, before)):
        return origin_of(before, after, None, theirs.event, reason, partner)
    if ours is None:
        return None
    if before.steps.steps[ours.step].name in ORDERS:
        reason = [f"{with_line(ours.event)} is left out"]
    origin = origin_of(before, after, ours.event, None, reason, partner)
    return replace(origin, site=_line_without_turn(ours, before, after))


def _line_without_turn(ours: Departure, before: Side, after: Side) -> Site | None:
    """The line of the second that last gives the elements that the first puts into another order."""
    content = before.steps.held[before.steps.steps[ours.step].gave[0]].content
    likes = [number for number, _ in before.others.like(content)] if content is not None else []
    makers = [step for number in likes if (step := after.steps.held[number].made_by) is not None]
    events = [
        after.events[id]
        for step in makers
        if (id := after.steps.steps[step].event) in after.events
        and not (isinstance(after.events[id], Call) and _only_shapes(after.steps.steps[step], after))
    ]
    last = max(events, key=lambda event: (not isinstance(event, Call), event.id), default=None)
    return last.site if last is not None else None


def _only_shapes(step: Step, side: Side) -> bool:
    """Whether a step gives what it is given in another shape, as a linear layer does before it computes."""
    held = [side.steps.held[number].content for number in (*step.given[:1], *step.gave[:1])]
    return len(held) == 2 and held[0] == held[1]


def _only_orders(departure: Departure, side: Side) -> bool:
    """Whether the step gives the elements that it is given."""
    step = side.steps.steps[departure.step]
    held = [side.steps.held[number].content for number in (*step.given[:1], *step.gave[:1])]
    return len(held) == 2 and None not in held and held[0].same_elements(held[1], side.others.tolerance)  # type: ignore[union-attr, arg-type]


def origin_of(
    before: Side,
    after: Side,
    one: Event | None,
    two: Event | None,
    reasons: Sequence[str],
    partner: Partner,
) -> Origin:
    """The origin where two events run, one on each side, for these reasons."""
    call = call_of(one, before)
    other = call_of(two, after)
    if call is None and other is not None:
        call = next(
            (found for each in (other, *after.trace.callers(other)) if (found := partner((each.path, each.nth)))), None
        )
    named = call or other
    path = named.path if named is not None else ""
    other_path = other.path if other is not None and other.path != path else None
    event = two or one
    return Origin(
        path,
        named.nth if named is not None else 1,
        named.class_name if named is not None else "",
        other_path,
        why=tuple(reasons),
        op=class_or_op(event) if event is not None and not isinstance(event, Call) else None,
        site=two.site if two is not None else None,
        first_site=one.site if one is not None else None,
    )


def call_of(event: Event | None, side: Side) -> Call | None:
    """The call itself, or the one that ran the op."""
    return event if event is None or isinstance(event, Call) else side.trace.caller(event)
