"""Two runs with all their steps -> the Origin: the op or call, its arguments and its line on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from fwdtrace.compare.comparison import Origin
from fwdtrace.compare.contents import Contents
from fwdtrace.compare.leaves import changed_arguments, class_or_op
from fwdtrace.compare.left_out import left_out, order_of_windows, other_function, swapped_product
from fwdtrace.compare.parting import (
    Departure,
    Side,
    alike,
    counterpart_of,
    departure_of,
    entering,
    following,
    given_alike,
    is_inserted,
    only_entering,
    shared_by,
    where_scaled,
    without_effect,
)
from fwdtrace.compare.reasons import (
    ORDERS,
    changed_operands,
    given_to,
    made_by,
    new_apart_from_input,
    new_constant_of_call,
    new_constants,
    operand_in_other_order,
    put_in_other_order,
    with_line,
)
from fwdtrace.compare.steps import Step, Steps
from fwdtrace.compare.traces import Partner
from fwdtrace.recorder.frames import NOWHERE, site_at
from fwdtrace.trace import Call, Event, Op, Site, Trace

Why = Callable[[Call, Call], Iterable[str]]
"""What the modules of two calls do not have alike, in words."""
_OTHER_ORDER = "it gives the same elements in another order"


def sides_of(before: tuple[Trace, Steps], after: tuple[Trace, Steps], tolerance: float) -> tuple[Side, Side]:
    """Both runs, each with what the other held."""
    ours, theirs = (Contents(steps.contents, tolerance) for _, steps in (before, after))
    return Side(*before, theirs), Side(*after, ours)


def origin_by_steps(
    before: Side,
    after: Side,
    outputs: Sequence[tuple[int, int]],
    why: Why,
    attributes: Why,
    partner: Partner,
    other_weight: Callable[[str, str], str],
) -> Origin | None:
    """Where the second run leaves the first; `outputs` are the tensors that differ, by their numbers on both sides.

    `why` says what the modules of two calls do not have alike, `attributes` only what they do not hold in tensors.
    `partner` gives the call of the first that a call of the second belongs to, where that is known; `other_weight` says
    how two weights by their names are not the same, if they are not.
    """
    ours = departure_of(before, (number for number, _ in outputs))
    theirs = departure_of(after, (number for _, number in outputs))
    if ours is None and theirs is None:
        return _by_order(before, after, outputs, partner)
    theirs = where_scaled(theirs, after) if theirs is not None else None
    one, two = _events(before, after, ours, theirs, partner)
    apart = new_apart_from_input(two, after) if two is not None else None
    if apart is not None:
        sides, pairs = (following(before), following(after)), [(number, apart) for number, _ in outputs]
        return origin_by_steps(*sides, pairs, why, attributes, partner, other_weight)
    if ours is not None and theirs is not None and _are_other_ops(one, two):
        unlike = one is not None and two is not None and one.id not in shared_by(two, after, before)
        used = _used_otherwise(before, ours, after, theirs, partner, unlike)
        if used is not None:
            return used
    if one is not None and two is not None:
        operands = operand_in_other_order(one, two, before, after)
        moved = _by_order(before, after, [operands], partner) if operands is not None else None
        if moved is not None:
            return moved
    product = swapped_product(given_to(two, after), after) if two is not None else None
    if product is not None:
        return _origin(before, after, None, product[0], [product[1]], partner)
    reordered = put_in_other_order(given_to(two, after), after) if two is not None else None
    if reordered is not None:
        return _origin(before, after, None, reordered.event, [_OTHER_ORDER], partner)
    constant = new_constant_of_call(two, after) if two is not None else None
    if constant is not None:
        number, call = constant
        theirs = departure_of(after, [number], constants=True)
        two = theirs.event if theirs is not None else call
        one = partner((call.path, call.nth)) or one
    if one is not None and two is not None and _is_inserted(one, two, before, after, partner):
        return _origin(before, after, None, two, [f"{class_or_op(two)} runs in the second only"], partner)
    name = after.steps.steps[theirs.step].name if theirs is not None else None
    reasons = list(_reasons(one, two, before, after, why, attributes, name))
    if ours is not None and theirs is not None and not any(" differs" in reason for reason in reasons):
        reasons += _weights_inside(before, ours, after, theirs, other_weight)
    reasons += filter(None, _left_out(one, two, ours, theirs, before, after))
    origin = _origin(before, after, one, two, reasons, partner)
    lines = _line_inside(one, ours, before), _line_inside(two, theirs, after)
    return replace(origin, first_site=lines[0] or origin.first_site, site=lines[1] or origin.site)


def _left_out(
    one: Event | None, two: Event | None, ours: Departure | None, theirs: Departure | None, before: Side, after: Side
) -> Iterable[str | None]:
    """What else may be behind it that two events of other names run there."""
    windows, missing = order_of_windows(one, two, after), left_out(one, two, ours, before, after)
    same = one is not None and two is not None and class_or_op(one) == class_or_op(two)
    other = None
    if windows is None and not same and ours is not None and theirs is not None:
        other = other_function(ours, theirs, before, after)
    yield windows
    if missing is None or (other is not None and missing.partition(" is left out")[0] in other):
        yield other
    else:
        yield missing


def _is_inserted(one: Event, two: Event, before: Side, after: Side, partner: Partner) -> bool:
    """Whether the second goes on with what `two` gave as the first does at once, in `one`."""

    def is_one(event: Event) -> bool:
        if not isinstance(one, Call) or not isinstance(event, Call):
            return alike(one, event)
        mine = partner((event.path, event.nth))
        return mine is not None and (mine.path, mine.nth) == (one.path, one.nth)

    return isinstance(two, Op) and not alike(one, two) and is_inserted(two, one, after, before, is_one)


def _are_other_ops(one: Event | None, two: Event | None) -> bool:
    """Whether these are two ops of other names."""
    return isinstance(one, Op) and isinstance(two, Op) and class_or_op(one) != class_or_op(two)


def _used_otherwise(
    before: Side, ours: Departure, after: Side, theirs: Departure, partner: Partner, unlike: bool
) -> Origin | None:
    """Of runs that part in ops of other names: what one uses from there on and the other does not.

    A model may be written otherwise from there on, and still has to use the same. `unlike` says that the two ops are
    given nothing that is the same.
    """
    alone = only_entering(before, ours, after, theirs)
    if unlike and not alone[0] and not alone[1]:
        turned = put_in_other_order(entering(after, theirs), after)
        return _origin(before, after, None, turned.event, [_OTHER_ORDER], partner) if turned is not None else None
    if len(alone[0]) != 1 or len(alone[1]) != 1:
        return None
    makers = made_by(alone[0][0], before), made_by(alone[1][0], after)
    if makers[0] is None or makers[1] is None:
        return None
    reason = f"what {with_line(makers[1])} gives is used, in the first what {with_line(makers[0])} gives"
    return _origin(before, after, *makers, [reason], partner)


def _weights_inside(
    before: Side, ours: Departure, after: Side, theirs: Departure, other_weight: Callable[[str, str], str]
) -> Iterable[str]:
    """Which weights of an operation inside a call are not the same, as in an exported program, which has no modules."""
    one, two = before.steps.steps[ours.step], after.steps.steps[theirs.step]
    for number, other in zip(one.given, two.given, strict=False):
        held, theirs_held = before.steps.held[number], after.steps.held[other]
        alike = one.name == two.name and held.shape == theirs_held.shape
        if alike and held.weight and theirs_held.weight and (text := other_weight(held.weight, theirs_held.weight)):
            yield text


def _line_inside(event: Event | None, departure: Departure | None, side: Side) -> Site | None:
    """The line in the code of a module where a run departs, if no op in the trace is of it."""
    if departure is None or event != departure.event or not isinstance(event, Call):
        return None
    position = side.steps.steps[departure.step].position
    return None if position is NOWHERE else site_at(position)


def _events(
    before: Side, after: Side, ours: Departure | None, theirs: Departure | None, partner: Partner
) -> tuple[Event | None, Event | None]:
    """What runs on both sides where they part; the second, which leaves, has the say on what its counterpart is.

    That is the call that belongs to its call by name, if it is given the same, or else what its results go by.
    """
    if theirs is None:
        assert ours is not None
        return ours.event, counterpart_of(ours.event, before, after, None)
    event = theirs.event
    if ours is not None and not alike(ours.event, event):
        if (one := without_effect(event, after, before, ours)) is not None:
            return one, event
        if (two := without_effect(ours.event, before, after, theirs)) is not None:
            return ours.event, two
    named = partner((event.path, event.nth)) if isinstance(event, Call) else None
    if named is not None:
        same = next((call for call in before.trace.at(named.path) if call.nth == named.nth), None)
        if same is not None and given_alike(same, event, before, after):
            return same, event
        if same is not None and ours is not None and before.is_given(same, before.steps.steps[ours.step].gave):
            return same, event
    one = counterpart_of(event, after, before, ours)
    if ours is not None and one is not None and ours.event.id < one.id and isinstance(ours.event, Call):
        # The first has something new before that: if the same module of the second is given the same, it is that.
        for call in after.trace.at(ours.event.path):
            mine = partner((call.path, call.nth))
            is_same = mine is not None and (mine.path, mine.nth) == (ours.event.path, ours.event.nth)
            if is_same and given_alike(ours.event, call, before, after):
                return ours.event, call
    return one, event


def _reasons(
    one: Event | None,
    two: Event | None,
    before: Side,
    after: Side,
    why: Why,
    attributes: Why,
    theirs: str | None,
) -> Iterable[str]:
    if one is not None and two is not None:
        if _holds_others(two, after) and theirs is not None:
            yield f"inside {class_or_op(two)}, {theirs} gives what the first never has"
        elif class_or_op(one) != class_or_op(two):
            yield f"{class_or_op(one)} became {class_or_op(two)}"
        changed, alone = changed_arguments(one, two)
        operands: list[str] = []
        if class_or_op(one) == class_or_op(two) or (
            isinstance(one, Call) and isinstance(two, Call) and not _holds_others(two, after)
        ):
            operands = list(changed_operands(one, two, before, after))
        given = changed or ([] if operands else alone)
        if given:
            yield f"{class_or_op(two)}({', '.join(given)})"
        if isinstance(one, Call) and isinstance(two, Call) and not _holds_others(two, after):
            became = f"{class_or_op(one)} became {class_or_op(two)}"
            yield from (reason for reason in why(one, two) if reason != became)
        if isinstance(one, Call) != isinstance(two, Call):
            calls = _call_of(one, before), _call_of(two, after)
            yield from attributes(calls[0], calls[1]) if calls[0] is not None and calls[1] is not None else ()
        yield from operands
    elif two is not None:
        yield f"{class_or_op(two)} runs in the second only"
    elif one is not None:
        yield f"{class_or_op(one)} runs in the first only"
    if two is not None:
        yield from new_constants(two, after)


def _holds_others(event: Event, side: Side) -> bool:
    """Whether it is a call that runs others, and operations between them that no op in the trace is of."""
    return isinstance(event, Call) and bool(side.trace.children(event))


def _by_order(before: Side, after: Side, pairs: Sequence[tuple[int, int]], partner: Partner) -> Origin | None:
    """The step that gives the same elements in an order that the other run never has."""
    theirs = departure_of(after, (number for _, number in pairs), order=True)
    ours = departure_of(before, (number for number, _ in pairs), order=True)
    reason = [_OTHER_ORDER]
    if theirs is not None and (ours is None or _only_orders(theirs, after) or not _only_orders(ours, before)):
        return _origin(before, after, None, theirs.event, reason, partner)
    if ours is None:
        return None
    if before.steps.steps[ours.step].name in ORDERS:
        reason = [f"{with_line(ours.event)} is left out"]
    origin = _origin(before, after, ours.event, None, reason, partner)
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


def _origin(
    before: Side,
    after: Side,
    one: Event | None,
    two: Event | None,
    reasons: Sequence[str],
    partner: Partner,
) -> Origin:
    call = _call_of(one, before)
    other = _call_of(two, after)
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


def _call_of(event: Event | None, side: Side) -> Call | None:
    """The call itself, or the one that ran the op."""
    return event if event is None or isinstance(event, Call) else side.trace.caller(event)
