"""Where a program is running: the code of its frames, their lines, and what the names in them are."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from inspect import CO_OPTIMIZED
from types import CodeType, FrameType
from typing import Any

from fwdtrace.recorder.frames import from_torch, is_ours

MOST_FRAMES = 6
Place = tuple[CodeType, int]
"""The code of a frame, and the line that it was at."""


@dataclass(frozen=True)
class Scope:
    """The code of a frame, the line that it was at, what all names were there, and which of them are local."""

    code: CodeType
    line: int
    values: dict[str, Any]
    local: set[str]


def places_above(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of the program at and above this one, innermost first, and the line of each."""
    count = 0
    while frame is not None and count < MOST_FRAMES:
        if not from_torch(frame.f_code) and not is_ours(frame.f_code):
            yield frame, frame.f_lineno
            count += 1
        frame = frame.f_back


def scopes_above(frame: FrameType | None, called_from: Collection[Place]) -> tuple[Scope, ...]:
    """The code of the program at and above this frame, with what names are in code that made the call too.

    That is looked up at once, as the program may give these names to the next batch.
    """
    codes = {code for code, _ in called_from}
    return tuple(
        Scope(each.f_code, line, *(_values_in(each) if each.f_code in codes else ({}, set())))
        for each, line in places_above(frame)
    )


def _values_in(frame: FrameType) -> tuple[dict[str, Any], set[str]]:
    """What all names are in a frame, and which of them are local."""
    local = frame.f_locals
    names, found = set(local), {**frame.f_globals, **local}
    if frame.f_code.co_flags & CO_OPTIMIZED and type(local) is dict:  # a copy, which the frame would hold on to
        local.clear()
    return found, names
