"""Errors that left a call of a model and did not end the program: counted by place, and the first of each explained."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from torch import nn

from fwdtrace.program.tracebacks import is_the_programs
from fwdtrace.trace import Trace

MOST_PLACES = 10
"""Places where errors came up that are told apart."""
Top = Callable[[nn.Module], tuple[nn.Module, str | None, int | None]]
"""From a module that was called to the one at the top of what holds it, its variable, and the number of the call."""


@dataclass
class Caught:
    """What was raised at one place, `count` times: in which call of which model, and a trace of the op that raised.

    `text` is the first line of the message at first. `identity` tells the latest such error from others as long as it
    lives. Without a trace, it is not known what the op was given, or it is an error that the program raised itself.
    """

    class_name: str
    name: str | None
    call: int | None
    error: str
    text: str
    file: str
    line: int
    count: int = 0
    identity: int = 0
    trace: Trace | None = None


class CaughtErrors:
    """The errors that have left calls of the program's models so far, in order of their first.

    `top` finds the model of a call. `unhooked` gives a block in which an op can be run once more to be seen, or None if
    that must not be now, as where something is being recorded.
    """

    def __init__(self, top: Top, unhooked: Callable[[], AbstractContextManager[None] | None]) -> None:
        self._top = top
        self._unhooked = unhooked
        self._by_place: dict[tuple[str, str, str, int], Caught] = {}

    def raised(self, module: nn.Module, error: BaseException) -> None:
        """A call of a module raised this. Whatever the error is made of, the program alone has to do with it."""
        if isinstance(error, Exception):
            with contextlib.suppress(Exception):
                self._note(module, error, sys._getframe(2))

    def _note(self, module: nn.Module, error: Exception, caller: FrameType | None) -> None:
        frame, instruction, line, is_over = _place_of(error, caller)
        file = frame.f_code.co_filename
        model, name, number = self._top(module)
        class_name = type(model).__name__
        key = class_name, type(error).__name__, file, line
        known = self._by_place.get(key)
        if known is None:
            if len(self._by_place) == MOST_PLACES:
                return
            text = str(error).strip().partition("\n")[0]
            known = self._by_place[key] = Caught(class_name, name, number, type(error).__name__, text, file, line)
            if is_over:  # to read the variables of a function that goes on would keep alive what they held
                trace = self._explained(error, frame, instruction, line)
                known.trace = _with_layer_named(trace, model, error) if trace is not None else None
        known.count += 1
        known.identity = id(error)

    def _explained(self, error: Exception, *place: Any) -> Trace | None:
        from fwdtrace.program.crash import statement_explained

        block = self._unhooked()
        if block is None:
            return None
        with block:
            return statement_explained(error, *place)

    def caught(self) -> list[Caught]:
        """Those that the program caught: all but the one that ended it, and what that came from."""
        ended = {id(error): type(error).__name__ for error in _chain(getattr(sys, "last_value", None))}
        left = []
        for each in self._by_place.values():
            if ended.get(each.identity) == each.error:
                each.count -= 1
            left += [each] if each.count else []
        return left


def _place_of(error: Exception, frame: FrameType | None) -> tuple[FrameType, int, int, bool]:
    """Where it came from: the innermost place in the program's own code, below this frame or else above it.

    And whether the function there has been left, or is the top of a file, with variables that everybody can read.
    """
    place = None
    step = error.__traceback__
    while step is not None:
        if is_the_programs(step.tb_frame.f_code):
            place = step.tb_frame, step.tb_lasti, step.tb_lineno, True
        step = step.tb_next
    while place is None and frame is not None:
        if is_the_programs(frame.f_code):
            place = frame, frame.f_lasti, frame.f_lineno, frame.f_code.co_name == "<module>"
        frame = frame.f_back
    if place is None:
        raise LookupError("no code of the program's is running")
    return place


def _with_layer_named(trace: Trace, model: nn.Module, error: Exception) -> Trace:
    """The trace with findings that name the layer which raised by its path in the model; alone it has none."""
    step, layer = error.__traceback__, None
    while step is not None:
        own = step.tb_frame.f_locals.get("self") if not is_the_programs(step.tb_frame.f_code) else None
        layer = own if isinstance(own, nn.Module) else layer
        step = step.tb_next
    path = next((path for path, module in model.named_modules() if module is layer), "")
    if not path:
        return trace
    kind = type(layer).__name__
    named = [each.message.replace(f"an unregistered {kind}", f"{path} ({kind})") for each in trace.findings]
    pairs = zip(trace.findings, named, strict=True)
    return replace(trace, findings=tuple(replace(finding, message=message) for finding, message in pairs))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it was raised from or in the handling of."""
    pending, seen = [error], set()
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            pending += [each.__cause__, each.__context__]
