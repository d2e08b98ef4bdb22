"""What a loop gives in turns, as one expert after the other does: all of it together, to be found as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fwdtrace.compare.numbers.contents import Content, content_together
from fwdtrace.compare.parting.steps import ELEMENTS_STAY, SELECTS, Steps
from fwdtrace.trace import Call, Event, Site, Trace

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def given_in_turns(steps: Steps, trace: Trace) -> dict[int, list[Content]]:
    """For each tensor that one line gives several times, in one call or in one of each, the content of all of these."""
    events = {event.id: event for event in trace.events}
    groups: dict[tuple[object, ...], list[int]] = {}
    places: dict[int, int] = {}
    for step in steps.steps:
        if step.event is None or step.event not in events:
            continue
        event = events[step.event]
        place = places[step.event] = places.get(step.event, -1) + 1
        caller = events.get(event.parent) if event.parent is not None else None
        for at, number in enumerate(step.gave):
            if step.name in SELECTS | ELEMENTS_STAY and steps.held[number].dtype.is_floating_point:
                continue  # which part is taken may be what is wrong
            kind = step.name, place, at, _line(event.site)
            keys: list[tuple[object, ...]] = [(_name(event), event.parent, "")]
            if caller is not None and caller.parent is not None:
                around = f"{_line(caller.site)}, in {caller.parent}"
                keys += [(_name(event), around, _name(caller)), (_path(event), around, _path(caller))]
            for key in dict.fromkeys(keys):
                groups.setdefault((*kind, *key), []).append(number)
    found: dict[int, list[Content]] = {}
    for numbers in groups.values():
        content = _together(dict.fromkeys(numbers), steps)
        if content is not None:
            for number in numbers:
                found.setdefault(number, []).append(content)
    return found


def wholes_in_turns(turns: Mapping[int, list[Content]]) -> list[tuple[Content, int]]:
    """Each whole once, with the number of the first tensor that is of it."""
    first = {content: number for number in reversed(list(turns)) for content in turns[number]}
    return list(first.items())


def _together(numbers: Iterable[int], steps: Steps) -> Content | None:
    contents = [content for number in numbers if (content := steps.held[number].content) is not None]
    return content_together(contents) if len(contents) > 1 else None


def _name(event: Event) -> str:
    """The name of an op, or the path of a call without the numbers in it, which tell the modules of a list apart."""
    return _NUMBER.sub("", _path(event))


def _path(event: Event) -> str:
    """The name of an op, or the path of a call."""
    return event.path or event.class_name if isinstance(event, Call) else event.name


def _line(site: Site | None) -> tuple[str, int] | None:
    return (site.file, site.line) if site is not None else None
