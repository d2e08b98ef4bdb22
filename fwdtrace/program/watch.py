"""Watch a whole program for the calls of its models, and record those that are wanted; nothing else is touched.

Only classes whose calls may be wanted are hooked. Once nothing new comes of a root for some calls, of its classes only
those are hooked by which it is called from outside, to count its calls.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from sys import _getframe
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.nn.modules.module import Module, register_module_module_registration_hook

from fwdtrace.program.endings import stop
from fwdtrace.program.names import name_of_called
from fwdtrace.program.reasons import why_nothing_was_kept
from fwdtrace.program.roots import BOTH, Root, Roots, Way, is_torchs_own
from fwdtrace.program.tracebacks import hide_our_frames
from fwdtrace.program.wanted import EVALUATION, TRAINING, WITHOUT_GRADIENTS, Round, Wanted
from fwdtrace.recorder.code_exchange import Observer, exchange, take_back_names
from fwdtrace.recorder.frames import frame_role, runs_in_a_call
from fwdtrace.recorder.notes import Options
from fwdtrace.recorder.recording import Recording, forget_our_frames
from fwdtrace.recorder.session import changing, listen_for_changes
from fwdtrace.recorder.torch_internals import TORCHS_CALL, fx_tracing, graph_task, is_tracing
from fwdtrace.trace import Trace
from fwdtrace.trace.called import Called


@dataclass(frozen=True)
class Kept:
    """A call that was recorded: of which root, counted from 0, and in which round of its calls."""

    root: int
    round: Round
    trace: Trace


@dataclass(frozen=True)
class _Open:
    """A call that is being recorded: of which root, in which round, and its number by its way in."""

    root: Root
    round: Round
    number: int
    recording: Recording


class _Thread(threading.local):
    """Whether a call that was looked at already is running in this thread, and after how many recordings it was."""

    inside = False
    recordings = 0


class Watch:
    """One watch over the program.

    `keep` is called with each recorded call when it has ended, however it ended; if it returns true, the program is
    asked to end, by `stop`.
    """

    def __init__(self, wanted: Wanted, options: Options, keep: Callable[[Kept], bool]) -> None:
        self._wanted = wanted
        self._options = options
        self._keep = keep
        self._roots = Roots(wanted, self._hook_what_is_wanted)
        # The classes that are hooked, with what is in place of their `__call__` and what was there; and the functions
        # that are observed, by their ids, with what ends that.
        self._hooked: dict[type, tuple[Any, Any] | None] = {}
        self._observed: dict[int, Callable[[], None]] = {}
        self._open: _Open | None = None
        self._thread = _Thread()
        self._observers = {
            "__call__": Observer(self._lets_run, self._call_observed),
            "forward": Observer(self._lets_run, self._forward_observed),
        }
        self._lock = threading.RLock()  # for all of this but what the program itself runs
        self._watches = False
        self._removals: list[Callable[[], None]] = []
        self._last_removals: list[Callable[[], None]] = []
        self._recordings = 0

    def begin(self) -> None:
        """Learn of every module that is constructed, copied or unpickled from now on."""
        self._watches = True
        for name in ("__init__", "__setstate__"):
            original = getattr(Module, name)
            setattr(Module, name, _and_then(original, self._constructed))
            self._removals.append(functools.partial(setattr, Module, name, original))
        # No recording may add or remove a hook of its own: a thread that builds a model may be going through them.
        self._last_removals = [
            register_module_module_registration_hook(self._tree_changed).remove,
            listen_for_changes(),
        ]

    def end(self) -> None:
        """Leave everything as it was found; a recording that is open goes on, and is kept."""
        self._rest()
        while self._last_removals:
            self._last_removals.pop()()

    def _rest(self) -> None:
        """Watch nothing any more, while threads of the program may be at work."""
        with self._lock:
            self._watches = False
            self._unhook()
            self._learn_no_more()

    def _learn_no_more(self) -> None:
        while self._removals:
            self._removals.pop()()

    def before_fork(self) -> None:
        """Wait for the threads that are changing something: they do not exist in the child."""
        self._lock.acquire()
        changing.acquire()

    def after_fork(self) -> None:
        """Let them go on."""
        changing.release()
        self._lock.release()

    def end_in_child(self) -> None:
        """Watch nothing in the child."""
        self.after_fork()
        self.end()

    def keep_what_is_open(self) -> None:
        """Keep the recording that is open as far as it has come, for a program that is about to be killed."""
        with self._lock:
            if self._open is not None:
                self._hand_over(self._open)

    def called(self) -> list[Called]:
        """The roots of which a call was kept, in order of the first kept call."""
        with self._lock:
            return [root.called() for root in self._roots.kept]

    def why_nothing_was_kept(self) -> str:
        """The reason, if no call was kept."""
        with self._lock:
            return why_nothing_was_kept(self._wanted, self._roots.not_kept(), self._roots.names())

    def _constructed(self, module: nn.Module) -> None:
        with self._lock:
            self._roots.holders.made(module)
            if self._open is None and not self._roots.is_full:
                self._hook(type(module))

    def _tree_changed(self, module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        with self._lock:
            if self._removals and submodule is not None:
                self._roots.holders.placed(module, name, submodule)

    @frame_role("boundary")
    def _lets_run(self, module: Any) -> bool:
        return self._thread.inside or type(module) not in self._hooked

    @frame_role("boundary")
    def _call_observed(self, original: Any, module: Any, args: Any, kwargs: Any) -> Any:
        return self._called(module, original, "__call__", args, kwargs)

    @frame_role("boundary")
    def _forward_observed(self, original: Any, module: Any, args: Any, kwargs: Any) -> Any:
        return self._called(module, original, "forward", args, kwargs)

    @frame_role("boundary")
    def _called(self, module: nn.Module, original: Callable[..., Any], entry: str, args: Any, kwargs: Any) -> Any:
        """A call from outside all modules that are watched: record it, or let it run as it would."""
        if not self._watches or _is_being_traced() or module.__dict__.get("_is_replica"):
            return original(module, *args, **kwargs)
        if self._thread.recordings != self._recordings and runs_in_a_call(_getframe(2)):
            return original(module, *args, **kwargs)  # in one that began when another thread's call was recorded
        self._thread.recordings = self._recordings
        with self._lock:
            root_and_path = self._roots.root_and_path(module)
            opened = self._begun(*root_and_path, module, entry) if root_and_path is not None else None
        if root_and_path is None and not is_torchs_own(module):
            return original(module, *args, **kwargs)
        self._thread.inside = True
        try:
            if opened is not None:
                return self._recorded(opened, module, entry, args, kwargs)
            return original(module, *args, **kwargs)
        except BaseException:
            hide_our_frames()
            raise
        finally:
            self._thread.inside = False

    def _begun(self, root: Root, path: str, module: nn.Module, entry: str) -> _Open | None:
        """Count a call, and if it is wanted and no other is being recorded, make the recording for it."""
        round, number = self._roots.count(root, path, module, entry)
        if round is None or self._open is not None:
            return None
        self._unhook()
        top = root.module()  # which may be false: a model may have a length
        if root.kept_as is None:
            root.name = name_of_called(module if top is None else top, module, _getframe(3))
        recording = Recording(module if top is None else top, replace(self._options, alone=True))
        self._open = _Open(root, round, number, recording)
        return self._open

    @frame_role("boundary")
    def _recorded(self, opened: _Open, module: nn.Module, entry: str, args: Any, kwargs: Any) -> Any:
        end_now = False
        try:
            with opened.recording:
                output = module(*args, **kwargs) if entry == "__call__" else module.forward(*args, **kwargs)
        except BaseException as error:
            forget_our_frames(error)
            raise
        finally:
            with self._lock:
                self._open = None
                self._recordings += 1
                self._thread.recordings = self._recordings
                self._hook_what_is_wanted()
                end_now = self._hand_over(opened)
        if end_now:
            raise stop()
        return output

    def _hand_over(self, opened: _Open) -> bool:
        root, trace = opened.root, opened.recording.trace
        trace = replace(
            trace,
            model=replace(trace.model, name=root.name, path=root.path or None),
            run=replace(trace.run, call=opened.number),
        )
        return self._keep(Kept(self._roots.number_of_kept(root), opened.round, trace))

    def _hook_what_is_wanted(self) -> None:
        """Hook the classes of modules by which a wanted call may come, and no others."""
        if self._open is not None or not self._watches:
            return
        self._unhook()
        for cls, entries in self._roots.entries_to_watch().items():
            self._hook(cls, entries)
        if self._roots.is_complete:
            self._learn_no_more()

    def _hook(self, cls: type, entries: Iterable[str] = BOTH) -> None:
        if not self._roots.has_parameters(cls) or issubclass(cls, torch.jit.ScriptModule):
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
            elif id(original) not in self._observed:  # also that of a base class, which several classes may share
                self._observed[id(original)] = exchange(original, self._observers[entry])

    def _hook_inherited_call(self, cls: type) -> None:
        own = cls.__dict__.get("__call__")
        wrapper = _watched(self._thread, self._roots.known, self._called)
        try:
            cls.__call__ = wrapper  # type: ignore[method-assign]
        except Exception:  # a metaclass that refuses it: calls are seen where they reach forward
            return
        self._hooked[cls] = wrapper, own

    def _unhook(self) -> None:
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


def _watched(thread: _Thread, known: dict[int, Way], called: Callable[..., Any]) -> FunctionType:
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
        except BaseException:
            hide_our_frames()
            raise
        finally:
            thread.inside = False

    return functools.update_wrapper(watched, TORCHS_CALL)  # type: ignore[return-value]


def _and_then(original: Callable[..., None], then: Callable[[nn.Module], None]) -> Callable[..., None]:
    @functools.wraps(original)
    @frame_role("boundary")
    def constructed(module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
        original(module, *args, **kwargs)
        if not is_dynamo_compiling():
            then(module)

    return constructed


def _is_being_traced() -> bool:
    """Whether this is no run of the program's own: a trace, an export, or a recomputation during backward."""
    return bool(is_tracing() or torch.compiler.is_compiling() or fx_tracing() or graph_task() != -1)
