"""An error that another process sent to this one as text: what raised it there, and at which line."""

from __future__ import annotations

import os
import re

from fwdtrace.program.tracebacks import is_a_file_of_the_program

_BEGINS = "Traceback (most recent call last):"
_FRAME = re.compile(r'^  File "(.+)", line (\d+), in (.+)\n(?:    (.+))?', re.MULTILINE)
_ERROR = re.compile(r"^(\w[\w.]*)(?:: (.*))?$", re.MULTILINE)
_WHO = re.compile(r"^Caught \w+ in (.+?)\.\nOriginal |^\n\n-- (Process \d+) terminated")
_BEHIND = ("RemoteTraceback", "_RemoteTraceback")
"""What the standard library puts behind an error that came from another process."""


def raised_elsewhere(error: BaseException, here: str) -> str | None:
    """Where another process raised this, by which code, and what it says; None if it was raised here.

    `here` is the line of the program that received it, which is named if no line of the program raised it.
    """
    who, text = _sent(error)
    traceback = text.rpartition(_BEGINS)[2]
    frames = list(_FRAME.finditer(traceback))
    said = _ERROR.search(traceback, frames[-1].end()) if who and frames else None
    if said is None:
        return None
    kind = said[1].rpartition(".")[2]
    own = [each for each in frames if is_a_file_of_the_program(each[1])]
    place = f"{os.path.basename(own[-1][1])}:{own[-1][2]}" if own else here
    lines = [f"{who} raised {kind}{f' at {place}' if place else ''}"]
    for frame in dict.fromkeys([*own[-1:], frames[-1]]):
        lines.append(f"  in {frame[3]}{f': {frame[4]}' if frame[4] else ''}")
    return "\n".join([*lines, f"  {kind}: {said[2]}" if said[2] else f"  {kind}"])


def _sent(error: BaseException) -> tuple[str, str]:
    """Who sent the error, and the text with the traceback from there; nothing where nobody did."""
    try:
        text = str(error)
        who = _WHO.match(text)
        if who is not None:
            return who[1] or who[2].lower(), text
        behind = error.__cause__
        return ("another process", str(behind)) if type(behind).__name__ in _BEHIND else ("", "")
    except Exception:  # the exception's own __str__ is broken
        return "", ""
