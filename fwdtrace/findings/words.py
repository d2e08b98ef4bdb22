"""How findings name calls: the module, how often, and which calls are told of together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fwdtrace.trace import Call, Site

MOST_LISTED = 3


def by_place(calls: Iterable[Call]) -> list[list[Call]]:
    """The calls grouped by module and line, in order of the first."""
    groups: dict[tuple[str | None, str, Site | None], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.path, call.class_name, call.site), []).append(call)
    return list(groups.values())


def name_of(call: Call) -> str:
    """What a person calls the module."""
    return call.path or ("the model" if call.path == "" else call.class_name)


def times(calls: list[Call]) -> str:
    """How often, from twice on."""
    return f" {len(calls)} times" if len(calls) > 1 else ""


def listed(names: Sequence[str]) -> str:
    """The names in a row, the first few if there are many: `a, b, c and 9 more`."""
    if len(names) <= MOST_LISTED + 1:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{', '.join(names[:MOST_LISTED])} and {len(names) - MOST_LISTED} more"
