"""Where a module is handed a tensor that it uses as it is: if that is the wrong one, this is the line to go to."""

from __future__ import annotations

from fwdtrace.compare.parting.departure import Side, users_of
from fwdtrace.compare.traces import Partner
from fwdtrace.trace import Call, Event


def handed_over(event: Event, number: int, side: Side, other: Side, missing: Event, partner: Partner) -> Event:
    """The outermost call around an event that is given the same tensor, or the event itself.

    Not further out than what goes on with what `missing` gave in the other run, which is where it may have been.
    """
    found = event
    for call in side.trace.callers(event):
        is_given = any(_is_same(each, number, side) for each in side.steps.given.get(call.id, ()))
        if not is_given or call.parent is None or _holds(call, missing, side, other, partner):
            break
        found = call
    return found


def handed_from_outside(event: Event, one: Event, side: Side, other: Side, partner: Partner) -> Event:
    """The outermost call around a call that is given the same tensor while its counterpart is not, or the call itself.

    What is inside such a call is given what it is given, so that it is the call that is given another tensor. `one` is
    the counterpart of the event.
    """
    found, around = event, list(other.trace.callers(one))
    numbers = _following(event, side)
    for call in side.trace.callers(event):
        given = side.steps.given.get(call.id, ())
        if call.parent is None or not all(any(_is_same(each, number, side) for each in given) for number in numbers):
            break
        mine = partner((call.path, call.nth))
        if mine is not None and all(_is_given_like(mine, number, side, other) for number in numbers):
            break
        found = call if mine in around else found
    return found


def _following(event: Event, side: Side) -> list[int]:
    return [number for number in side.steps.given.get(event.id, ()) if side.steps.held[number].follows]


def _is_given_like(event: Event, number: int, side: Side, other: Side) -> bool:
    """Whether an event of the other run is given the same elements."""
    return any(side.is_part_of(number, each) for each in other.steps.given.get(event.id, ()))


def _is_same(one: int, two: int, side: Side) -> bool:
    held = side.steps.held
    return one == two or (held[one].content is not None and held[one].content == held[two].content)


def _holds(call: Call, missing: Event, side: Side, other: Side, partner: Partner) -> bool:
    """Whether a call also runs parts that do not use what `missing` gave, as far as its parts have partners."""
    users = users_of(missing, other)
    callers = other.trace.callers(missing)
    caller = next((each for each in callers if any(_below(user, each, other) is not None for user in users)), None)
    mine = partner((call.path, call.nth))
    if mine is not None and caller is not None and mine in (caller, *other.trace.callers(caller)):
        return True
    going_on = {_below(user, caller, other) for user in users}
    parts = (partner((part.path, part.nth)) for part in side.trace.walk(call))
    places = {_below(part, caller, other) for part in parts if part is not None}
    return bool(places - going_on - {None})


def _below(event: Event, caller: Call | None, side: Side) -> int | None:
    """The id of the call right below `caller` that runs an event, or of the event itself; None if it does not."""
    at = event
    for call in side.trace.callers(event):
        if caller is not None and call.id == caller.id:
            return at.id
        at = call
    return at.id if caller is None else None
