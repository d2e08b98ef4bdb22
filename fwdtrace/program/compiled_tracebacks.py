"""Keep our code out of the errors of `torch.compile`, which goes through it on its way to the program's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from types import CodeType, TracebackType

_TRACER = os.path.join("torch", "_dynamo", "symbolic_convert.py")
_CALL_OF_MODULE = os.path.join("torch", "nn", "modules", "module.py")
_NAMES_OF_CALL = ("_wrapped_call_impl", "_call_impl")
"""Torch's functions that our code goes on to; without it the compiler goes to forward at once."""
_FRAME = re.compile(r'^ +File "(.*)", line \d+, in (.*)$')
IsOurs = Callable[[str], bool]
"""Whether a file is one of ours, by its name."""


def without_our_part(steps: list[TracebackType], is_ours: IsOurs) -> list[TracebackType]:
    """The steps of a traceback but those in which the compiler went through our code; all, if it raised there."""
    kept, ours = [], False
    for step in steps:
        code = _compiled_in(step)
        if code is not None:
            ours = _goes_on(code.co_filename, code.co_name, ours, is_ours)
        if not ours:
            kept.append(step)
    return steps if ours else kept


def _compiled_in(step: TracebackType) -> CodeType | None:
    """The function that the compiler begins to go through in this step."""
    code = step.tb_frame.f_code
    if code.co_name != "run" or not code.co_filename.endswith(_TRACER):
        return None
    found = getattr(step.tb_frame.f_locals.get("self"), "f_code", None)
    return found if isinstance(found, CodeType) else None


def _goes_on(file: str, function: str, ours: bool, is_ours: IsOurs) -> bool:
    """Whether a function is ours, or what ours go on to."""
    return is_ours(file) or (ours and function in _NAMES_OF_CALL and file.endswith(_CALL_OF_MODULE))


def take_our_lines_out(error: BaseException, is_ours: IsOurs) -> None:
    """Take our frames out of the message, in which the compiler repeats what it went through of the program's code."""
    text = error.args[0] if error.args else None
    if not isinstance(text, str) or "from user code:" not in text:
        return
    kept: list[str] = []
    ours = False
    for line in text.split("\n"):
        frame = _FRAME.match(line)
        if frame is not None:
            ours = _goes_on(frame[1], frame[2], ours, is_ours)
        elif not line.strip():
            ours = False
        if not ours:
            first = frame is not None and kept[-1:] == ["from user code:"]
            kept.append(f"   {line.lstrip()}" if first else line)
    error.args = ("\n".join(kept), *error.args[1:])
    if getattr(error, "msg", None) == text:
        error.msg = error.args[0]  # type: ignore[attr-defined]
