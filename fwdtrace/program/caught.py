"""Errors that left a call of a model and did not end the program: counted by place, and the first of each explained."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from types import FrameType
from typing import Any

from torch import nn

from fwdtrace.program.moment import Left, modes_now
from fwdtrace.program.tracebacks import is_the_programs
from fwdtrace.trace import Trace
from fwdtrace.trace.called import Caught

_Place = tuple[str, str, str, int]
"""The class of the model, that of the error, and the file and line where it was raised."""
MOST_PLACES = 10
"""Places where errors came up that are told apart."""
Top = Callable[[nn.Module], tuple[nn.Module, str | None, int | None]]
"""From a module that was called to the one at the top of what holds it, its variable, and the number of the call."""


class CaughtErrors:
    """The errors that have left calls of the program's models so far, in order of their first.

    `top` finds the model of a call. `unhooked` gives a block in which an op can be run once more to be seen, or None if
    that must not be now, as where something is being recorded.
    """

    def __init__(self, top: Top, unhooked: Callable[[], AbstractContextManager[None] | None]) -> None:
        self._top = top
        self._unhooked = unhooked
        self._by_place: dict[_Place, Caught] = {}
        self._latest: dict[_Place, int] = {}
        self._latest_left: tuple[int, Left] | None = None

    def raised(self, module: nn.Module, error: BaseException) -> None:
        """A call of a module raised this. Whatever the error is made of, the program alone has to do with it."""
        if isinstance(error, Exception):
            with contextlib.suppress(Exception):
                self._latest_left = id(error), Left(modes_now(), self._top(module)[2])
                self._note(module, error, sys._getframe(2))

    def _note(self, module: nn.Module, error: Exception, caller: FrameType | None) -> None:
        found = _place_of(error, caller)
        file, line = (found[0].f_code.co_filename, found[2]) if found is not None else ("", 0)
        model, name, number = self._top(module)
        class_name = type(model).__name__
        kind = type(error).__name__
        place = class_name, kind, file, line
        known = self._by_place.get(place)
        if known is None:
            if len(self._by_place) == MOST_PLACES:
                return
            text = str(error).strip().partition("\n")[0]
            layer = _layer_that_raised(model, error)
            known = Caught(class_name, name, number, kind, text, file, line, count=0, trace=None, layer=layer)
            self._by_place[place] = known
            if found is not None and found[3]:  # to read variables of a function that goes on would keep them alive
                trace = self._explained(error, *found[:3])
                known = replace(known, trace=_with_layer_named(trace, layer) if trace is not None else None)
        self._by_place[place] = replace(known, count=known.count + 1)
        self._latest[place] = id(error)

    def left_by(self, error: Exception) -> Left | None:
        """How the call was made that this error left; None if it left none, or another error has left one since."""
        return self._latest_left[1] if self._latest_left is not None and self._latest_left[0] == id(error) else None

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
        for place, each in self._by_place.items():
            count = each.count - (ended.get(self._latest.get(place, 0)) == each.error)
            left += [replace(each, count=count)] if count else []
        return left


def _place_of(error: Exception, frame: FrameType | None) -> tuple[FrameType, int, int, bool] | None:
    """The frame, the instruction and the line that the error came from, and whether the frame's variables can be read.

    The frame is the innermost one of the program's own code that the error has left, or, if there is none, the one that
    called, with `frame` the first to look at. The variables can be read where the function has been left, and those of
    a module always. None where only libraries have code, as in a thread of a pool.
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
    return place


def _layer_that_raised(model: nn.Module, error: Exception) -> str:
    """The path and class of the part of the model that a library's code raised in; "" if it is none."""
    step, layer = error.__traceback__, None
    while step is not None:
        own = step.tb_frame.f_locals.get("self") if not is_the_programs(step.tb_frame.f_code) else None
        layer = own if isinstance(own, nn.Module) else layer
        step = step.tb_next
    path = next((path for path, module in model.named_modules() if module is layer), "")
    return f"{path} ({type(layer).__name__})" if path else ""


def _with_layer_named(trace: Trace, layer: str) -> Trace:
    """The trace with findings that name the layer which raised by its path in the model; alone it has none."""
    alone = f"an unregistered {layer.rpartition('(')[2].rstrip(')')}"
    named = [each.message.replace(alone, layer) if layer else each.message for each in trace.findings]
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
