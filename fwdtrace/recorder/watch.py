"""Watch a whole program for the calls of its models, and record those that are wanted; nothing else is touched.

A root is the topmost module that holds the one that is called. Only classes whose calls may be wanted are hooked, and
once a root is called again after its last wanted call, its classes are left alone.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.nn.modules.module import Module, register_module_module_registration_hook

from fwdtrace.recorder.frames import is_ours
from fwdtrace.recorder.open_calls import Options
from fwdtrace.recorder.recording import Recording, forget_our_frames, record
from fwdtrace.recorder.torch_names import fx_tracing, graph_task, tracing_state
from fwdtrace.trace import Trace

MOST_ROOTS = 20
MOST_WAYS = 50
NO_MODELS = ("torch.export", "torch._export", "torch.nn.utils.parametrize")
"""Where modules are from that torch calls by itself, to export a model or to build one; no model of the program's."""


@dataclass(frozen=True)
class Wanted:
    """Which calls of each root to keep, counted from 1: the first ones, one of them, or every so many from the first.

    `model` is the class, bare or qualified, or the path of the modules to take as roots; None for the topmost ones.
    """

    first: int = 1
    call: int | None = None
    every: int | None = None
    model: str | None = None

    def keeps(self, number: int) -> bool:
        """Whether to keep the call with this number."""
        if self.call is not None:
            return number == self.call
        if self.every is not None:
            return (number - 1) % self.every == 0
        return number <= self.first

    def is_last(self, number: int) -> bool:
        """Whether no call after this one is kept."""
        return self.every is None and number >= (self.call or self.first)


@dataclass(frozen=True)
class Kept:
    """A call that was recorded: of which root, counted from 0 in order of the first call, and the how-manieth."""

    root: int
    class_name: str
    number: int
    trace: Trace


class _Root:
    """A module at the top, and how often it was called by each way in: the paths of the modules called from outside."""

    def __init__(self, module: nn.Module) -> None:
        self.module = weakref.ref(module)
        self.kept_as: int | None = None
        self.calls: Counter[tuple[str, str]] = Counter()
        self.settled = False


class _Thread(threading.local):
    """Whether a call that was looked at already is running in this thread."""

    inside = False


class Watch:
    """One watch over the program.

    `keep` is called with each recorded call when it has ended, however it ended; if it returns true, the program is
    asked to end, by a SystemExit with status 0.
    """

    def __init__(self, wanted: Wanted, options: Options, keep: Callable[[Kept], bool]) -> None:
        self._wanted = wanted
        self._options = options
        self._keep = keep
        self._modules: dict[int, weakref.ref[nn.Module]] = {}
        self._roots: dict[int, _Root] = {}
        self._hooked: dict[tuple[type, str], tuple[Any, Any]] = {}
        self._without_parameters: set[type] = set()
        self._holders: dict[int, tuple[nn.Module, str]] | None = None
        self._open: tuple[_Root, int, Recording] | None = None
        self._thread = _Thread()
        self._removals: list[Callable[[], None]] = []
        self._kept_roots = 0

    def begin(self) -> None:
        """Learn of every module that is constructed, copied or unpickled from now on."""
        for name in ("__init__", "__setstate__"):
            original = getattr(Module, name)
            setattr(Module, name, _and_then(original, self._constructed))
            self._removals.append(functools.partial(setattr, Module, name, original))
        self._removals.append(register_module_module_registration_hook(self._tree_changed).remove)

    def end(self) -> None:
        """Leave everything as it was found; a recording that is open goes on, and is kept."""
        self._unhook()
        while self._removals:
            self._removals.pop()()

    def keep_what_is_open(self) -> None:
        """Keep the recording that is open as far as it has come, for a program that is about to be killed."""
        if self._open is not None:
            root, number, recording = self._open
            self._hand_over(root, number, recording.trace)

    def _constructed(self, module: nn.Module) -> None:
        key = id(module)
        self._modules[key] = weakref.ref(module, lambda _: self._modules.pop(key, None))
        self._holders = None
        if self._open is None:
            self._hook(type(module))

    def _tree_changed(self, module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        self._holders = None

    def _called(self, module: nn.Module, original: Callable[..., Any], entry: str, args: Any, kwargs: Any) -> Any:
        """A call from outside all modules that are watched: record it, or let it run as it would."""
        if not self._removals or _is_being_traced() or module.__dict__.get("_is_replica"):
            return original(module, *args, **kwargs)
        found = self._root_and_way(module)
        if found is None:
            if not _is_torchs_own(module):
                return original(module, *args, **kwargs)
            record_it = False
        else:
            root, way = found
            record_it, number = self._count(root, (way, entry))
        self._thread.inside = True
        try:
            if record_it and self._open is None:
                return self._recorded(root, number, module, entry, args, kwargs)
            return original(module, *args, **kwargs)
        finally:
            self._thread.inside = False

    def _recorded(self, root: _Root, number: int, module: nn.Module, entry: str, args: Any, kwargs: Any) -> Any:
        self._unhook()
        top = root.module()  # which may be false: a model may have a length
        recording = record(module if top is None else top, **asdict(self._options))
        self._open = root, number, recording
        end_now = False
        try:
            with recording:
                output = module(*args, **kwargs) if entry == "__call__" else module.forward(*args, **kwargs)
        except BaseException as error:
            forget_our_frames(error)
            raise
        finally:
            self._open = None
            self._hook_what_is_wanted()
            end_now = self._hand_over(root, number, recording.trace)
        if end_now:
            raise SystemExit(0)
        return output

    def _hand_over(self, root: _Root, number: int, trace: Trace) -> bool:
        if root.kept_as is None:
            root.kept_as = self._kept_roots
            self._kept_roots += 1
        return self._keep(Kept(root.kept_as, trace.model.class_name, number, trace))

    def _count(self, root: _Root, way: tuple[str, str]) -> tuple[bool, int]:
        """Count a call of the root; whether it is to be recorded, and its number among those by this way."""
        if way not in root.calls and len(root.calls) == MOST_WAYS:
            return False, 0
        root.calls[way] += 1
        number = root.calls[way]
        if self._wanted.is_last(number - 1) and not root.settled:
            root.settled = True
            self._hook_what_is_wanted()
        full = root.kept_as is None and self._kept_roots == MOST_ROOTS
        return not root.settled and not full and self._wanted.keeps(number), number

    def _root_and_way(self, module: nn.Module) -> tuple[_Root, str] | None:
        """The root that a module belongs to, and the module's path in it; None if none of its calls is wanted."""
        top, way = self._top(module)
        if _is_torchs_own(module) or _is_torchs_own(top):
            return None
        if self._wanted.model is not None:
            if not self._is_named(module, way):
                return None
            top, way = module, ""
        root = self._root(top)
        if next(top.parameters(), None) is None:
            if not top._modules:
                self._without_parameters.add(type(top))
            if not root.settled:
                root.settled = True
                self._hook_what_is_wanted()
        return root, way

    def _root(self, module: nn.Module) -> _Root:
        known = self._roots.get(id(module))
        if known is None or known.module() is not module:
            known = self._roots[id(module)] = _Root(module)
        return known

    def _top(self, module: nn.Module) -> tuple[nn.Module, str]:
        holders = self._holders
        if holders is None:
            holders = self._holders = {}
            for held_by in self._alive():
                for name, child in held_by.__dict__.get("_modules", {}).items():
                    holders.setdefault(id(child), (held_by, name))
        names: list[str] = []
        passed = {id(module)}
        while id(module) in holders and id(holders[id(module)][0]) not in passed:
            module, name = holders[id(module)]
            passed.add(id(module))
            names.append(name)
        return module, ".".join(reversed(names))

    def _is_named(self, module: nn.Module, path: str) -> bool:
        return self._wanted.model in (path or None, *_names(type(module)))

    def _alive(self) -> list[nn.Module]:
        return [module for reference in list(self._modules.values()) if (module := reference()) is not None]

    def _hook_what_is_wanted(self) -> None:
        """Hook the classes of modules by which a wanted call may come, and no others."""
        if self._open is not None or not self._removals:
            return
        self._unhook()
        some_settled = any(root.settled for root in self._roots.values())
        for module in self._alive():
            top, way = self._top(module)
            root = self._roots.get(id(module if self._wanted.model is not None else top))
            if root is None:  # not called so far: a copy for later, say, must not slow down all that is of its classes
                wanted = self._is_named(module, way) if self._wanted.model is not None else not (some_settled and way)
            else:
                wanted = not root.settled
            if wanted:
                self._hook(type(module))

    def _hook(self, cls: type) -> None:
        if (cls, "__call__") in self._hooked or cls in self._without_parameters:
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
    def constructed(module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
        original(module, *args, **kwargs)
        if not is_dynamo_compiling():
            then(module)

    return constructed


def _is_being_traced() -> bool:
    """Whether this is no run of the program's own: a trace, an export, or a recomputation during backward."""
    return bool(tracing_state() or torch.compiler.is_compiling() or fx_tracing() or graph_task() != -1)


def _is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith(NO_MODELS)


def _names(cls: type) -> tuple[str, str]:
    return cls.__name__, f"{cls.__module__}.{cls.__qualname__}"


for _function in (_watched, _and_then):
    for _constant in _function.__code__.co_consts:
        if isinstance(_constant, CodeType):
            is_ours(_constant, "boundary")
is_ours(Watch._called.__code__, "boundary")
is_ours(Watch._recorded.__code__, "boundary")
