"""What is noted while the model runs: calls that are still open, the modules they are of, and one stack a thread."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fwdtrace.recorder.describe import Leaves
from fwdtrace.recorder.frames import Position, from_torch, own_call_code
from fwdtrace.recorder.torch_internals import CALL_CODE, GENERATED, WRAPPED_CALL_CODE
from fwdtrace.trace import CallError, Entry

if TYPE_CHECKING:
    from fwdtrace.recorder.measures.keeper import Keeper

FAST_PATH = (WRAPPED_CALL_CODE, CALL_CODE)
"""The chain of a module that has nothing to run but its forward."""


class SeenModule:
    """A module that was met, and where it sits in the tree of each recording: its path and its further names."""

    __slots__ = (
        "calls_awaiting_backward", "is_script", "is_users", "module", "module_class", "own_call", "parameters",
        "places", "shows_ops", "torch_forward",
    )  # fmt: skip

    def __init__(self, module: nn.Module, places: dict[object, tuple[str, ...]]) -> None:
        # Weak: a module swapped out during forward must not keep its parameters because somebody watches.
        self.module = weakref.ref(module, partial(_gone, id(module)))
        self.module_class = type(module)
        forward = getattr(type(module), "forward", None)
        code = getattr(getattr(forward, "fwdtrace_original", forward), "__code__", None)
        self.torch_forward = code if code is not None and from_torch(code) else None
        # The code that torch generates for a graph is in no file, and what it runs is what the user's model ran.
        self.is_users = self.torch_forward is None or self.torch_forward.co_filename.startswith(GENERATED)
        self.shows_ops = self.is_users and bool(module._modules)
        self.own_call = own_call_code(type(module))
        self.is_script = isinstance(module, torch.jit.ScriptModule)
        self.places = places
        self.parameters: int | None = None
        self.calls_awaiting_backward: list[OpenCall] = []


def _gone(key: int, reference: weakref.ref[nn.Module]) -> None:
    # Not a method: a module that knew of this object would outlive the recording until garbage is collected.
    entry = seen.get(key)
    if entry is not None and entry.module is reference:
        del seen[key]


class HookRun:
    """One hook of one call, and what became of it."""

    __slots__ = ("changed", "file", "fired", "kind", "line", "name")

    def __init__(self, kind: str, name: str, file: str | None, line: int | None) -> None:
        self.kind = kind
        self.name = name
        self.file = file
        self.line = line
        self.fired = False
        self.changed = False


class OpenCall:
    """One call while it runs: references and numbers only; names and texts are found when the recording has ended."""

    __slots__ = (
        "begin", "chain", "depth", "end", "entry", "error", "extra", "has_calls", "hooks", "inputs", "kept_by",
        "number", "opaque", "outer", "outputs", "parent", "position", "seen", "thread",
    )  # fmt: skip

    seen: SeenModule
    parent: OpenCall | None
    entry: Entry
    inputs: Leaves
    outputs: Leaves
    position: Position | None
    chain: Any
    hooks: dict[Any, HookRun] | None
    begin: int
    end: int
    error: CallError | None
    opaque: str | None
    outer: tuple[CodeType, ...]
    kept_by: Recorded | None
    number: int
    depth: int
    has_calls: bool
    thread: str | None
    extra: dict[str, Any] | None
    """Further fields of the Call, by name, which few calls have."""


class OpenOp:
    """One functional op, as noted when it ran."""

    __slots__ = ("error", "extra", "function", "inputs", "kept_by", "number", "outputs", "parent", "position")

    function: Any
    parent: OpenCall
    inputs: Leaves
    outputs: Leaves
    position: Position | None
    error: CallError | None
    extra: dict[str, Any] | None
    kept_by: Recorded | None
    number: int


class Stacks(threading.local):
    """The open calls of this thread, outermost first, and whether the innermost one shows its ops."""

    def __init__(self) -> None:
        self.stack: list[OpenCall] = []
        self.shows_ops = False
        self.in_op = False


stacks = Stacks()
seen: dict[int, SeenModule] = {}
"""By the id of the module; an entry goes when its module does, so that no id is taken for another's."""
log: list[OpenCall | OpenOp] = []
"""All calls and ops since the oldest of the running recordings began, in order of beginning."""


@dataclass(frozen=True)
class Options:
    """What a recording was asked for beside the calls; with `alone`, no calls that other threads make by themselves."""

    ops: bool = False
    check_finite: bool = False
    stats: bool = False
    costs: bool = False
    gradients: bool = False
    alone: bool = False


class Recorded:
    """One running recording: its model, where its calls begin in the log, the stack of the thread that opened it."""

    def __init__(self, root: nn.Module, options: Options) -> None:
        self.root = root
        self.options = options
        self.start = len(log)
        self.home = stacks.stack
        self.tree_changed = False


recordings: list[Recorded] = []
recordings_of_ops: list[Recorded] = []
recordings_of_values: list[Recorded] = []
recordings_of_costs: list[Recorded] = []
recordings_of_gradients: list[Recorded] = []
changing = threading.RLock()
"""Held while a recording begins, ends or is finished, and while something is put in place for it, in any thread."""
keepers: list[Keeper] = []
"""Those that keep the numbers of every call."""


def value_options() -> Options:
    """What any of the running recordings asks of values."""
    asked = [recorded.options for recorded in recordings_of_values]
    return Options(check_finite=any(each.check_finite for each in asked), stats=any(each.stats for each in asked))
