"""How a forward came to run: from a `__call__` of torch or of the class, from another forward, or directly."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Literal

from torch import nn

from fwdtrace.recorder.frames import IDS_OF_CALLS, is_ours, one_chain, original_of, role_of, run_by

Entered = Literal["call", "same call", "override", "direct"]


def through_override(module: nn.Module, override: CodeType, frame: FrameType) -> tuple[tuple[CodeType, ...], FrameType]:
    """The code objects from the class's own `__call__` in to `frame`, and the frame that called it.

    The empty tuple and `frame` itself if `module` was not called through its own `__call__`.
    """
    codes: list[CodeType] = []
    step: FrameType | None = frame
    while step is not None and not is_ours(step.f_code):
        codes.append(step.f_code)
        if step.f_code is override and _first_argument(step) is module:
            return one_chain(codes), step.f_back or step
        step = step.f_back
    return (), frame


def how_entered(module: nn.Module, original: Callable[..., Any], frame: FrameType | None) -> Entered:
    """How `original`, a forward of `module`, came to run: walk outwards from `frame`, the caller of our wrapper.

    "call" is from `Module.__call__`, however decorated; "same call" from another forward of the same module, as in
    `super().forward(x)`; "override" from a `__call__` of the class's own; "direct" from anywhere else.
    """
    override = own_call_code(type(module))
    forwards = forwards_of(type(module))
    here = _position(original, forwards)
    while frame is not None:
        code = frame.f_code
        if id(code) in IDS_OF_CALLS:
            return "call" if frame.f_locals.get("self") is module else "direct"
        role = role_of(code)
        if role == "forward":
            if _first_argument(frame) is not module:
                return "direct"
            outer = _position(run_by(code), forwards)
            return "same call" if outer < here or here < 0 else "direct"
        if role == "hook":
            return "direct"
        # A generator's body runs when our wrapper is long gone. Bodies that share code, as decorators', say nothing.
        bodies = [position for position, forward in enumerate(forwards) if getattr(forward, "__code__", None) is code]
        if len(bodies) == 1 and _first_argument(frame) is module:
            return "same call" if bodies[0] < here or here < 0 else "direct"
        if code is override and _first_argument(frame) is module:
            return "override"
        frame = frame.f_back
    return "direct"


def overridden_call(cls: type[nn.Module]) -> Any:
    """The `__call__` that the class or a base defines over `nn.Module`'s; None if there is none."""
    for base in cls.__mro__:
        if base is nn.Module:
            return None
        if "__call__" in base.__dict__:
            return base.__dict__["__call__"]
    return None


def own_call_code(cls: type[nn.Module]) -> CodeType | None:
    """The code of the class's own `__call__`; None if it has none or none in Python."""
    return getattr(overridden_call(cls), "__code__", None)


def forwards_of(cls: type[nn.Module]) -> list[Any]:
    """The forwards in the class and its bases, most derived first, each as what runs its own code."""
    return [original_of(base.__dict__["forward"]) for base in cls.__mro__ if "forward" in base.__dict__]


def _position(forward: Any, forwards: list[Any]) -> int:
    return next((position for position, each in enumerate(forwards) if each is forward), -1)


def _first_argument(frame: FrameType) -> Any:
    code = frame.f_code
    if code.co_argcount:
        return frame.f_locals.get(code.co_varnames[0])
    if code.co_flags & inspect.CO_VARARGS:
        return next(iter(frame.f_locals[code.co_varnames[code.co_kwonlyargcount]]), None)
    return None
