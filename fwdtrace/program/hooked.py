"""The classes whose calls are looked at, and how each is hooked: at its `__call__`, its `forward`, or both."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import torch
from torch.compiler import is_dynamo_compiling
from torch.nn.modules.module import Module

from fwdtrace.program.roots import BOTH, Way
from fwdtrace.program.tracebacks import hide_our_frames, without_our_frames
from fwdtrace.program.wanted import EVALUATION, TRAINING, WITHOUT_GRADIENTS
from fwdtrace.recorder.code_exchange import Observer, exchange, take_back_names
from fwdtrace.recorder.frames import frame_role
from fwdtrace.recorder.torch_internals import TORCHS_CALL, graph_task


class Thread(threading.local):
    """What is known of one thread: whether it is `inside` a call that was looked at already.

    `recordings` is how many recordings had begun when that was last checked.
    """

    inside = False
    recordings = 0


Called = Callable[[Any, Callable[..., Any], str, Any, Any], Any]
"""What happens at a call of a hooked class that is not inside another: it is given the module, what runs the call as it
would run, the entry, and the arguments."""

Raised = Callable[[Any, BaseException], None]
"""What happens when a call by a known way, that nobody wants, has raised."""


class HookedClasses:
    """The hooked classes. One thread hooks and unhooks at a time, while any thread may call.

    Calls by one of the `known` ways that nobody wants are counted right there; `raised` gets what they raise.
    """

    def __init__(self, thread: Thread, known: dict[int, Way], called: Called, raised: Raised) -> None:
        # By class: what is in place of its `__call__` and what was there; and the functions that are observed, by their
        # ids, with what ends that.
        self._hooked: dict[type, tuple[Any, Any] | None] = {}
        self._observed: dict[int, Callable[[], None]] = {}
        self._thread = thread
        self._known = known
        self._called = called
        self._raised = raised
        self._observers = {
            "__call__": Observer(self._lets_run, self._call_observed, without_our_frames),
            "forward": Observer(self._lets_run, self._forward_observed, without_our_frames),
        }

    @frame_role("boundary")
    def _lets_run(self, module: Any) -> bool:
        return self._thread.inside or type(module) not in self._hooked

    @frame_role("boundary")
    def _call_observed(self, original: Any, module: Any, args: Any, kwargs: Any) -> Any:
        return self._called(module, original, "__call__", args, kwargs)

    @frame_role("boundary")
    def _forward_observed(self, original: Any, module: Any, args: Any, kwargs: Any) -> Any:
        return self._called(module, original, "forward", args, kwargs)

    def hook(self, cls: type, entries: Iterable[str] = BOTH, *, inherited_alone: bool = False) -> None:
        """Look at the calls that enter a class in these ways; with `inherited_alone`, by `Module.__call__` alone."""
        if issubclass(cls, torch.jit.ScriptModule):
            return
        if cls is Module:  # a bare module has no forward; and what is put there all other classes would inherit
            return
        self._hooked.setdefault(cls, None)
        for entry in entries:
            original = getattr(cls, entry, None)
            if type(original) is not FunctionType or (self._hooked[cls] and entry == "__call__"):
                continue
            if original is Module.__call__:
                self._hook_inherited_call(cls)
            elif (
                not inherited_alone and id(original) not in self._observed
            ):  # also that of a base class, which several classes may share
                self._observed[id(original)] = exchange(original, self._observers[entry])

    def _hook_inherited_call(self, cls: type) -> None:
        own = cls.__dict__.get("__call__")
        wrapper = _watched(self._thread, self._known, self._called, self._raised)
        try:
            cls.__call__ = wrapper  # type: ignore[method-assign]
        except Exception:  # a metaclass that refuses it: calls are seen where they reach forward
            return
        self._hooked[cls] = wrapper, own

    def unhook(self) -> None:
        """Leave all classes as they were found."""
        for cls, hooked in reversed(self._hooked.items()):
            if hooked is None or cls.__dict__.get("__call__") is not hooked[0]:
                continue
            if hooked[1] is None:
                del cls.__call__
            else:
                cls.__call__ = hooked[1]  # type: ignore[method-assign]
        self._hooked.clear()
        for put_back in reversed(self._observed.values()):
            put_back()
        self._observed.clear()
        take_back_names()


def _watched(thread: Thread, known: dict[int, Way], called: Called, raised: Raised) -> FunctionType:
    """In place of an inherited `Module.__call__`: say that it was called, unless a call that was looked at is running.

    Calls by a known way that nobody wants are counted right here. What to run is looked up when it is needed: torch.fx
    replaces `Module.__call__` while it traces.
    """
    compiling, base, with_gradients, in_backward = is_dynamo_compiling, Module, torch.is_grad_enabled, graph_task

    @frame_role("boundary")
    def watched(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        if compiling() or thread.inside:
            return base.__call__(module, *args, **kwargs)
        way = known.get(id(module))
        try:
            if way is None:
                return called(module, base.__call__, "__call__", args, kwargs)
            mode = (
                (TRAINING if with_gradients() else WITHOUT_GRADIENTS)
                if module.__dict__.get("training", True)
                else EVALUATION
            )
            if not way.passes[mode] or in_backward() != -1:
                return called(module, base.__call__, "__call__", args, kwargs)
            way.calls[mode] += 1
            thread.inside = True
            try:
                return base.__call__(module, *args, **kwargs)
            except BaseException as error:
                raised(module, error)
                raise
            finally:
                thread.inside = False
        except BaseException as error:
            hide_our_frames(error)
            raise

    return functools.update_wrapper(watched, TORCHS_CALL)  # type: ignore[return-value]
