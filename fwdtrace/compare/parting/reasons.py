"""Two calls or ops that run in the same place -> why their results are not the same, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fwdtrace.compare.leaves import class_or_op
from fwdtrace.compare.parting.departure import SUMS, Departure, Side, departure_of
from fwdtrace.compare.parting.selections import whole_of
from fwdtrace.trace import Call, Event, TensorMeta
from fwdtrace.trace.text import site_text

_EITHER_WAY = re.compile(r"^[+*]=?$|^(torch|Tensor)\.(add|mul)_?$")
"""Ops whose operands may change places."""


def with_line(event: Event) -> str:
    """The name of a call or op and its line."""
    line = site_text(event.site)
    return f"{class_or_op(event)} at {line}" if line else class_or_op(event)


ORDERS = frozenset(("repeat", "cat", "stack", "roll", "flip", "index", "index_select", "gather"))
"""Operations whose result has the elements that it was given in an order that is chosen."""


def changed_operands(one: Event, two: Event, before: Side, after: Side) -> Iterator[str]:
    """The tensors that two calls or ops are given and that are not the same, with where they come from."""
    ours, theirs = _operands(one, before), _operands(two, after)
    if len(ours) != len(theirs) or not ours:
        return
    addends = _addends(ours, before), _addends(theirs, after)
    if len(addends[0]) == len(addends[1]) > len(ours):
        ours, theirs = _without_same(*addends, before, after)
    if _EITHER_WAY.match(class_or_op(two)) and len(ours) == 2 and not _same(ours[0][1], theirs[0][1], before, after):
        theirs.reverse()
    apart = [
        place for place in range(len(ours)) if not _same(ours[place][1], theirs[place][1], before, after, order=True)
    ]
    if len(apart) == 2 and all(
        _same(ours[apart[place]][1], theirs[apart[1 - place]][1], before, after) for place in (0, 1)
    ):
        names = [ours[place][0] for place in apart]
        if all(name.isdigit() or not name for name in names):
            names = [f"operands {apart[0] + 1}", str(apart[1] + 1)]
        yield f"{names[0]} and {names[1]} are swapped"
        return
    for place in apart:
        was, became = makers_of(ours[place][1], theirs[place][1], before, after)
        if was != became:
            name = theirs[place][0] or ours[place][0]
            label = f"its operand {name}" if not name.isdigit() else f"its operand {int(name) + 1}"
            yield f"{label} is of {became}, in the first of {was}"


def makers_of(one: int, two: int, before: Side, after: Side) -> tuple[str, str]:
    """What made two tensors; modules of one class are told apart by where they are."""
    events = [_maker(number, side)[1] for number, side in ((one, before), (two, after))]
    calls = [event for event in events if isinstance(event, Call)]
    if len(calls) == 2 and calls[0].class_name == calls[1].class_name and calls[0].path and calls[1].path:
        return calls[0].path, calls[1].path
    return maker_of(one, before), maker_of(two, after)


def maker_of(number: int, side: Side) -> str:
    """What made a tensor, beyond what only gives it another shape."""
    return _maker(number, side)[0]


def made_by(number: int, side: Side) -> Event | None:
    """The call or op that made a tensor, beyond what only gives it another shape."""
    return _maker(number, side)[1]


def _maker(number: int, side: Side) -> tuple[str, Event | None]:
    held = side.steps.held[number]
    while held.weight is None and held.made_by is not None:
        step = side.steps.steps[held.made_by]
        before = side.steps.held[step.given[0]] if step.given else None
        if before is None or before.content != held.content:
            event = side.events.get(step.event) if step.event is not None else None
            return (with_line(event) if event is not None else step.name), event
        held = before
    if held.weight is not None:
        return held.weight, None
    return ("the input" if held.follows else "a constant"), None


def new_constants(event: Event, side: Side) -> Iterator[str]:
    """What a call or op is given that does not depend on the input, and that the other run never has."""
    for name, number in _addends(_operands(event, side), side):
        if side.steps.held[number].follows or not side.is_in_new_order(number):
            continue
        is_new = side.is_new(number)
        departure = departure_of(side, [number], constants=True, order=not is_new)
        if departure is not None and not is_new:
            departure = _first_in_other_order(departure, side)
        starts = departure is not None and (is_new or side.steps.steps[departure.step].given)
        maker = with_line(departure.event) if departure is not None and starts else maker_of(number, side)
        label = name if name and not name.isdigit() else "an operand"
        yield f"{label} {'is new' if is_new else 'has its elements in another order'}, of {maker}"


def _first_in_other_order(departure: Departure, side: Side) -> Departure:
    """The first step whose result has the elements of a tensor of the other run, if what it is given has not."""

    def is_other_order(number: int) -> bool:
        return not side.is_new(number) and side.is_in_new_order(number)

    found = (
        step
        for step in sorted(departure.ways)
        if any(map(is_other_order, side.steps.steps[step].gave))
        and not any(map(is_other_order, side.steps.steps[step].given))
        and side.steps.steps[step].event in side.events
    )
    step = next(found, None)
    event = side.steps.steps[step].event if step is not None else None
    return (
        replace(departure, step=step, event=side.events[event]) if step is not None and event is not None else departure
    )


def new_constant_of_call(event: Event, side: Side) -> tuple[int, Call] | None:
    """The first tensor that it is given that is new, does not depend on the input and is what a module gave."""
    for _, number in _operands(event, side):
        held = side.steps.held[number]
        if not held.follows and held.made_by is not None and side.is_new(number):
            call = made_by(number, side)
            if isinstance(call, Call):
                return number, call
    return None


def new_apart_from_input(event: Event, side: Side) -> int | None:
    """The first tensor that it is given that is new, and comes of a module that is given nothing of the input."""
    for _, number in _operands(event, side):
        if not side.steps.held[number].follows and side.is_new(number):
            departure = departure_of(side, [number], constants=True)
            if departure is not None and isinstance(departure.event, Call):
                return number
    return None


def operand_in_other_order(one: Event, two: Event, before: Side, after: Side) -> tuple[int, int] | None:
    """The first tensors of one shape that both are given and that have the same elements in another order."""
    ours, theirs = _operands(one, before), _operands(two, after)
    if len(ours) != len(theirs):
        return None
    for (_, first), (_, second) in zip(ours, theirs, strict=True):
        same_shape = before.steps.held[first].shape == after.steps.held[second].shape
        same = same_shape and _same(first, second, before, after)
        if same and not _same(first, second, before, after, order=True):
            return first, second
    return None


def wholes_in_other_order(one: Event, two: Event, before: Side, after: Side) -> tuple[int, int] | None:
    """The first tensors of which both are given parts, and that have the same elements in another order."""
    ours, theirs = _operands(one, before), _operands(two, after)
    if len(ours) != len(theirs):
        return None
    for (_, first), (_, second) in zip(ours, theirs, strict=True):
        wholes = whole_of(first, before), whole_of(second, after)
        shapes = before.steps.held[wholes[0]].shape, after.steps.held[wholes[1]].shape
        if wholes == (first, second) or _same(first, second, before, after) or shapes[0] != shapes[1]:
            continue
        if _same(*wholes, before, after) and not _same(*wholes, before, after, order=True):
            return wholes
    return None


def given_to(event: Event, side: Side) -> list[int]:
    """The tensors that a call or op is given."""
    return [number for _, number in _operands(event, side)]


def put_in_other_order(numbers: Iterable[int], side: Side) -> Departure | None:
    """The step by which one of these gets an order that the other run never has, if that step does more than turn.

    A tensor that is turned around has an order of its own in every library; one that is repeated has not.
    """
    for number in numbers:
        if side.steps.held[number].follows and not side.is_new(number) and side.is_in_new_order(number):
            departure = departure_of(side, [number], order=True)
            if departure is not None and side.steps.steps[departure.step].name in ORDERS:
                return departure
    return None


def _same(first: int, second: int, before: Side, after: Side, *, order: bool = False) -> bool:
    one, two = before.steps.held[first], after.steps.held[second]
    if one.content is None or two.content is None:
        return True
    tolerance = before.others.tolerance
    if not one.content.same_elements(two.content, tolerance):
        return after.is_part_of(second, first) or before.is_part_of(first, second)
    return not order or one.shape != two.shape or one.content.same_order(two.content, tolerance)


def _operands(event: Event, side: Side) -> list[tuple[str, int]]:
    """The tensors that a call or op is given, with the names of their leaves."""
    names = [leaf.name for leaf in event.inputs if isinstance(leaf, TensorMeta)]
    numbers = side.steps.given.get(event.id, ())
    return list(zip(names, numbers, strict=True)) if len(names) == len(numbers) else []


def _addends(operands: list[tuple[str, int]], side: Side) -> list[tuple[str, int]]:
    """The operands, with what it was summed from in place of each sum that the other run never has.

    Several tensors may be added in any order, so that the sums on the way are no one's fault.
    """
    found: list[tuple[str, int]] = []
    for name, number in operands:
        made_by = side.steps.held[number].made_by
        step = side.steps.steps[made_by] if made_by is not None else None
        if step is not None and step.name in SUMS and len(step.given) == 2 and side.is_new(number):
            found += _addends([(name, each) for each in step.given], side)
        else:
            found.append((name, number))
    return found


def _without_same(
    ours: list[tuple[str, int]], theirs: list[tuple[str, int]], before: Side, after: Side
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """What two sums do not have in common, wherever it stands in them."""
    left = list(theirs)
    apart = []
    for each in ours:
        same = next((other for other in left if _same(each[1], other[1], before, after)), None)
        if same is None:
            apart.append(each)
        else:
            left.remove(same)
    return apart, left
