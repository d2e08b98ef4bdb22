"""Two runs with all their steps -> the Origin: the op or call, its arguments and its line on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from fwdtrace.compare.comparison import Origin
from fwdtrace.compare.leaves import changed_arguments, class_or_op
from fwdtrace.compare.numbers.contents import Contents
from fwdtrace.compare.parting.by_order import OTHER_ORDER, by_order, call_of, origin_of
from fwdtrace.compare.parting.departure import (
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
from fwdtrace.compare.parting.handed_over import handed_from_outside
from fwdtrace.compare.parting.in_turns import given_in_turns, wholes_in_turns
from fwdtrace.compare.parting.left_out import (
    LeftOut,
    left_out,
    order_of_windows,
    other_function,
    swapped_product,
    used_otherwise,
)
from fwdtrace.compare.parting.reasons import (
    changed_operands,
    given_to,
    made_by,
    new_apart_from_input,
    new_constant_of_call,
    new_constants,
    operand_in_other_order,
    put_in_other_order,
    wholes_in_other_order,
    with_line,
)
from fwdtrace.compare.parting.selections import only_selects, selects, where_selected
from fwdtrace.compare.parting.steps import Steps
from fwdtrace.compare.traces import Partner
from fwdtrace.recorder.frames import NOWHERE, site_at
from fwdtrace.trace import Call, Event, Op, Site, Trace

Why = Callable[[Call, Call], Iterable[str]]
"""What the modules of two calls do not have alike, in words."""


def sides_of(
    before: tuple[Trace, Steps], after: tuple[Trace, Steps], tolerance: float, *, in_turns: bool = True
) -> tuple[Side, Side]:
    """Both runs, each with what the other held, as a whole or in turns."""
    ours, theirs = (
        Contents([*steps.contents, *(wholes_in_turns(given_in_turns(steps, trace)) if in_turns else ())], tolerance)
        for trace, steps in (before, after)
    )
    return Side(*before, theirs, in_turns), Side(*after, ours, in_turns)


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
        return by_order(before, after, outputs, partner)
    theirs = where_scaled(theirs, after) if theirs is not None else None
    if ours is not None and theirs is not None and only_selects(ours, before):
        theirs = where_selected(ours, before, theirs, after)
    elif ours is not None and theirs is not None and only_selects(theirs, after) and not after.takes_parts:
        sides = before, replace(after, takes_parts=True)
        return origin_by_steps(*sides, outputs, why, attributes, partner, other_weight)
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
        moved = by_order(before, after, [operands], partner) if operands is not None else None
        if moved is not None:
            return moved
    product = swapped_product(given_to(two, after), after) if two is not None else None
    if product is not None:
        return origin_of(before, after, None, product[0], [product[1]], partner)
    missing = left_out(one, two, ours, before, after, partner)
    reordered = put_in_other_order(given_to(two, after), after) if two is not None else None
    # What is stacked along another dimension has another order in every library.
    if reordered is not None and (missing is None or after.steps.steps[reordered.step].name != "stack"):
        return origin_of(before, after, None, reordered.event, [OTHER_ORDER], partner)
    wholes = wholes_in_other_order(one, two, before, after) if one is not None and two is not None else None
    moved = by_order(before, after, [wholes], partner) if wholes is not None else None
    if moved is not None:
        return moved
    constant = new_constant_of_call(two, after) if two is not None else None
    if constant is not None:
        number, call = constant
        theirs = departure_of(after, [number], constants=True)
        two = theirs.event if theirs is not None else call
        one = partner((call.path, call.nth)) or one
    if one is not None and two is not None and _is_inserted(one, two, before, after, partner):
        return origin_of(before, after, None, two, [f"{class_or_op(two)} runs in the second only"], partner)
    name = after.steps.steps[theirs.step].name if theirs is not None else None
    reasons = list(_reasons(one, two, before, after, why, attributes, name))
    if not reasons and one is not None and two is not None and selects(one, before) and selects(two, after):
        reasons = ["it takes other elements"]
    if ours is not None and theirs is not None and not any(" differs" in reason for reason in reasons):
        reasons += _weights_inside(before, ours, after, theirs, other_weight)
    handed = isinstance(two, Call) and isinstance(one, Call) and _is_handed_another(one, two, theirs, before, after)
    if missing is None and not handed and ours is not None and theirs is not None:
        missing = used_otherwise(one, two, ours, theirs, before, after, partner)
    reasons += filter(None, _left_out(missing, one, two, ours, theirs, before, after))
    origin = origin_of(before, after, one, two, reasons, partner)
    if missing is not None and missing.where is not None and missing.text in reasons:
        return replace(origin, site=missing.where.site)
    if handed and one is not None and two is not None:
        return replace(origin, site=handed_from_outside(two, one, after, before, partner).site)
    lines = _line_inside(one, ours, before), _line_inside(two, theirs, after)
    return replace(origin, first_site=lines[0] or origin.first_site, site=lines[1] or origin.site)


def _left_out(
    missing: LeftOut | None,
    one: Event | None,
    two: Event | None,
    ours: Departure | None,
    theirs: Departure | None,
    before: Side,
    after: Side,
) -> Iterable[str | None]:
    """What else may be behind it that two events of other names run there."""
    windows = order_of_windows(one, two, after)
    same = one is not None and two is not None and class_or_op(one) == class_or_op(two)
    other = None
    if windows is None and not same and ours is not None and theirs is not None:
        other = other_function(ours, theirs, before, after)
    yield windows
    if missing is None or (other is not None and missing.text.partition(" is left out")[0] in other):
        yield other
    else:
        yield missing.text


def _is_inserted(one: Event, two: Event, before: Side, after: Side, partner: Partner) -> bool:
    """Whether the second goes on with the result of `two` as the first does without it, in `one`."""

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
        return origin_of(before, after, None, turned.event, [OTHER_ORDER], partner) if turned is not None else None
    if len(alone[0]) != 1 or len(alone[1]) != 1:
        return None
    makers = made_by(alone[0][0], before), made_by(alone[1][0], after)
    if makers[0] is None or makers[1] is None:
        return None
    reason = f"what {with_line(makers[1])} gives is used, in the first what {with_line(makers[0])} gives"
    return origin_of(before, after, *makers, [reason], partner)


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
    """What runs on both sides where they part: what the second runs there, and its counterpart in the first.

    The counterpart is the call that belongs to it by name, if both are given the same. Otherwise it is what uses the
    same tensors in the first.
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
        if same is not None and ours is not None and _is_given_another(event, same, after, before, ours):
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


def _is_handed_another(one: Call, two: Call, theirs: Departure | None, before: Side, after: Side) -> bool:
    """Whether a call is given another tensor, and departs where it uses that."""
    if theirs is None or not any(changed_operands(one, two, before, after)):
        return False
    held = after.steps.held
    used = {held[number].content for number in after.steps.steps[theirs.step].given}
    return any(content is not None and content in used for content in (held[n].content for n in given_to(two, after)))


def _is_given_another(event: Event, same: Call, after: Side, before: Side, ours: Departure) -> bool:
    """Whether a call is given a tensor that the first run has too, but gives to no call of this module."""
    numbers = [number for number in given_to(event, after) if after.steps.held[number].follows]
    if not numbers or any(map(after.is_new, numbers)):
        return False
    inside = (same, *before.trace.walk(same))
    is_new = ours.ways.intersection(step for call in inside for step in before.own_steps.get(call.id, ()))
    return bool(is_new) and not any(map(before.is_new, given_to(same, before)))


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
            calls = call_of(one, before), call_of(two, after)
            yield from attributes(calls[0], calls[1]) if calls[0] is not None and calls[1] is not None else ()
        yield from operands
    elif two is not None:
        yield f"{class_or_op(two)} runs in the second only"
    elif one is not None:
        yield f"{class_or_op(one)} runs in the first only"
    if two is not None and not (one is not None and _computes_by_itself(one, two, before)):
        yield from new_constants(two, after)


def _computes_by_itself(one: Event, two: Event, before: Side) -> bool:
    """Whether the first does by an op with no constants what the second does by another, which may need some."""
    if not isinstance(one, Op) or class_or_op(one) == class_or_op(two):
        return False
    return all(before.steps.held[number].follows for number in given_to(one, before))


def _holds_others(event: Event, side: Side) -> bool:
    """Whether it is a call that runs others, and operations between them that no op in the trace is of."""
    return isinstance(event, Call) and bool(side.trace.children(event))
