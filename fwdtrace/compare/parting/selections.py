"""Steps that only take some of the elements of a tensor, which every model may do at another place."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.compare.parting.departure import Departure, Side
from fwdtrace.compare.parting.steps import ELEMENTS_STAY, SELECTS
from fwdtrace.trace import Event


def only_selects(departure: Departure, side: Side) -> bool:
    """Whether the step takes some of the elements of what it is given."""
    return side.steps.steps[departure.step].name in SELECTS


def selects(event: Event, side: Side) -> bool:
    """Whether a call or op takes some of the elements of what it is given."""
    return any(side.steps.steps[step].name in SELECTS for step in side.own_steps.get(event.id, ()))


def where_selected(ours: Departure, before: Side, theirs: Departure, after: Side) -> Departure:
    """The step of the second run that takes elements of what the first takes elements of, if that is before.

    What only turns it, or selects from it once more, comes after that.
    """
    whole = before.steps.steps[ours.step].given[0]
    number = next(iter(after.steps.steps[theirs.step].given), None)
    while number is not None and (made_by := after.steps.held[number].made_by) is not None:
        step = after.steps.steps[made_by]
        if not step.given or step.name not in SELECTS | ELEMENTS_STAY | {"expand"}:
            break
        number = step.given[0]
        if step.name in SELECTS and after.is_part_of(number, whole):
            event = after.events.get(step.event) if step.event is not None else None
            return replace(theirs, step=made_by, event=event) if event is not None else theirs
    return theirs


def whole_of(number: int, side: Side) -> int:
    """The tensor of which the elements were taken."""
    while (made_by := side.steps.held[number].made_by) is not None:
        step = side.steps.steps[made_by]
        if step.name not in SELECTS:
            break
        number = step.given[0]
    return number
