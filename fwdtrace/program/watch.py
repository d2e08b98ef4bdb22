"""Watch a whole program for the calls of its models, and record those that are wanted; nothing else is touched.

Only classes whose calls may be wanted are hooked, and once a root is called again after its last wanted call, its
classes are left alone.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from sys import _getframe
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.nn.modules.module import Module, register_module_module_registration_hook

from fwdtrace.program.endings import stop
from fwdtrace.program.roots import Root, Roots, is_torchs_own
from fwdtrace.program.tracebacks import hide_our_frames
from fwdtrace.program.wanted import Wanted
from fwdtrace.recorder.frames import frame_role, runs_in_a_call
from fwdtrace.recorder.notes import Options
from fwdtrace.recorder.recording import Recording, forget_our_frames
from fwdtrace.recorder.session import changing, listen_for_changes
from fwdtrace.recorder.torch_internals import fx_tracing, graph_task, is_tracing
from fwdtrace.trace import Trace


@dataclass(frozen=True)
class Kept:
    """A call that was recorded: of which root, counted from 0, and which of its calls, counted from 1."""

    root: int
    class_name: str
    number: int
    trace: Trace


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
        self._options = options
        self._keep = keep
        self._roots = Roots(wanted, self._hook_what_is_wanted)
        self._hooked: dict[tuple[type, str], tuple[Any, Any]] = {}
        self._open: tuple[Root, int, Recording] | None = None
        self._thread = _Thread()
        self._lock = threading.RLock()  # for all of this but what the program itself runs
        self._removals: list[Callable[[], None]] = []
        self._last_removals: list[Callable[[], None]] = []
        self._recordings = 0

    def begin(self) -> None:
        """Learn of every module that is constructed, copied or unpickled from now on."""
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
            self._unhook()
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
                root, number, recording = self._open
                self._hand_over(root, number, recording.trace)

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
    def _called(self, module: nn.Module, original: Callable[..., Any], entry: str, args: Any, kwargs: Any) -> Any:
        """A call from outside all modules that are watched: record it, or let it run as it would."""
        if not self._removals or _is_being_traced() or module.__dict__.get("_is_replica"):
            return original(module, *args, **kwargs)
        if self._thread.recordings != self._recordings and runs_in_a_call(_getframe(2)):
            return original(module, *args, **kwargs)  # in one that began when another thread's call was recorded
        self._thread.recordings = self._recordings
        with self._lock:
            root_and_way = self._roots.root_and_way(module)
            recording = self._begun(*root_and_way, module, entry) if root_and_way is not None else None
        if root_and_way is None and not is_torchs_own(module):
            return original(module, *args, **kwargs)
        self._thread.inside = True
        try:
            if recording is not None:
                return self._recorded(recording, module, entry, args, kwargs)
            return original(module, *args, **kwargs)
        except BaseException:
            hide_our_frames()
            raise
        finally:
            self._thread.inside = False

    def _begun(self, root: Root, way: str, module: nn.Module, entry: str) -> Recording | None:
        """Count a call, and if it is wanted and no other is being recorded, make the recording for it."""
        record_it, number = self._roots.count(root, (way, entry))
        if not record_it or self._open is not None:
            return None
        self._unhook()
        top = root.module()  # which may be false: a model may have a length
        recording = Recording(module if top is None else top, replace(self._options, alone=True))
        self._open = root, number, recording
        return recording

    @frame_role("boundary")
    def _recorded(self, recording: Recording, module: nn.Module, entry: str, args: Any, kwargs: Any) -> Any:
        end_now = False
        try:
            with recording:
                output = module(*args, **kwargs) if entry == "__call__" else module.forward(*args, **kwargs)
        except BaseException as error:
            forget_our_frames(error)
            raise
        finally:
            with self._lock:
                assert self._open is not None
                root, number, _ = self._open
                self._open = None
                self._recordings += 1
                self._thread.recordings = self._recordings
                self._hook_what_is_wanted()
                end_now = self._hand_over(root, number, recording.trace)
        if end_now:
            raise stop()
        return output

    def _hand_over(self, root: Root, number: int, trace: Trace) -> bool:
        return self._keep(Kept(self._roots.number_of_kept(root), trace.model.class_name, number, trace))

    def _hook_what_is_wanted(self) -> None:
        """Hook the classes of modules by which a wanted call may come, and no others."""
        if self._open is not None or not self._removals:
            return
        self._unhook()
        for cls in self._roots.classes_to_watch():
            self._hook(cls)
        if self._roots.is_full and not self._hooked:
            self._rest()

    def _hook(self, cls: type) -> None:
        if (cls, "__call__") in self._hooked or not self._roots.has_parameters(cls):
            return
        for name in ("__call__", "forward"):
            original = getattr(cls, name, None)
            if type(original) is FunctionType and not issubclass(cls, torch.jit.ScriptModule):
                inherited = original is Module.__call__ and name not in vars(cls)
                wrapper = _watched(original, inherited, name, self._thread, self._called)
                self._hooked[cls, name] = wrapper, cls.__dict__.get(name)
                setattr(cls, name, wrapper)

    def _unhook(self) -> None:
        for (cls, name), (wrapper, own) in reversed(self._hooked.items()):
            if cls.__dict__.get(name) is not wrapper:
                continue
            if own is None:
                delattr(cls, name)
            else:
                setattr(cls, name, own)
        self._hooked.clear()


def _watched(original: Any, inherited: bool, entry: str, thread: _Thread, called: Callable[..., Any]) -> FunctionType:
    """In place of a `__call__` or a `forward`: say that it was called, unless a call that was looked at is running.

    An inherited `Module.__call__` is looked up when it is needed: torch.fx replaces it while it traces.
    """
    # Free variables only: the function lives with the original's globals, in which torch.jit.script looks names up.
    compiling, base = is_dynamo_compiling, Module

    @frame_role("boundary")
    def watched(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        run = base.__call__ if inherited else original
        if compiling() or thread.inside:
            return run(module, *args, **kwargs)
        return called(module, run, entry, args, kwargs)

    wrapper = FunctionType(watched.__code__, original.__globals__, original.__name__, None, watched.__closure__)
    functools.update_wrapper(wrapper, original)
    wrapper.fwdtrace_original = original  # type: ignore[attr-defined]
    return wrapper


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
