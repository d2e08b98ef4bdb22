"""What is noted while the model runs: open calls and ops, their hooks, their modules. Mutable, and never finished."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fwdtrace.recorder.alike import Alike
from fwdtrace.recorder.entered import own_call_code
from fwdtrace.recorder.frames import Position, code_that_ends_search, from_torch, original_of, positions_in
from fwdtrace.recorder.torch_internals import GENERATED, NO_FORWARD, TORCHS_CALL_IMPL, wraps_compiled
from fwdtrace.trace import CallError, Entry, FailedModule, Leaf

if TYPE_CHECKING:
    from fwdtrace.recorder.lines import Given, Line

Leaves = tuple[Leaf, ...]


class Known(weakref.ref[Any]):
    """What is known of a tensor, and the weak reference to it: as one object, since Python's garbage collector counts
    objects. It never changes; `DataFlow` says what each part is.
    """

    __slots__ = ("clock", "like", "version")

    version: int
    clock: int
    like: Any
    maker: Any
    place: int
    writer: Note | None

    if TYPE_CHECKING:

        def __call__(self) -> Any:
            """The tensor, None if it is gone."""


class KnownResult(Known):
    """What is known of a tensor that is the first or only one made by a call."""

    __slots__ = ("maker",)

    place = 0
    writer: Note | None = None


class KnownOtherwise(KnownResult):
    """What is known of any tensor that is no such result, nor the only one made by an op."""

    __slots__ = ("place", "writer")


Noted = Known | list[Known] | tuple[()]
"""What is known of the tensors that a call or op is given, or gives. Of one, as mostly, it is in no list: Python's
garbage collector runs the more often the more lists there are, and looks through all that the user has."""


def entries_of(noted: Noted) -> Sequence[Known]:
    """What is noted, tensor by tensor."""
    return noted if type(noted) is list or not noted else (noted,)  # type: ignore[return-value]


class SeenClass:
    """What all modules of one class have in common."""

    __slots__ = (
        *("code", "forward", "forwards", "gave", "given", "goes_straight", "is_script", "is_users", "lines"),
        *("may_be_opaque", "module_class", "own_call", "torch_forward", "wraps_compiled", "writes_in_place"),
    )

    def __init__(self, cls: type[nn.Module]) -> None:
        self.module_class = cls
        self.forward = original_of(getattr(cls, "forward", None))
        code = getattr(self.forward, "__code__", None)
        if self.forward is NO_FORWARD and not cls.__module__.startswith("torch."):
            code = None  # a class of the user's that gives each module a forward of its own
        self.torch_forward = code if code is not None and from_torch(code) else None
        # The code that torch generates for a graph is in no file, and what it runs is what the user's model ran.
        self.is_users = self.torch_forward is None or self.torch_forward.co_filename.startswith(GENERATED)
        self.forwards: frozenset[int] = frozenset()
        """The ids of what runs the forwards in the class and its bases, once those are observed."""
        self.own_call = own_call_code(cls)
        self.code = code_that_ends_search(self.forward)
        self.lines: dict[int, Line] = {}
        """Where in that code ops were noted, by instruction."""
        self.given: Given | None = None
        self.gave: Given | None = None
        """What a module of this class was given last, and what it gave, if that was not one tensor alone."""
        self.writes_in_place = False
        self.goes_straight = cls._call_impl is TORCHS_CALL_IMPL
        self.is_script = issubclass(cls, torch.jit.ScriptModule)
        self.wraps_compiled = wraps_compiled(cls)
        self.may_be_opaque = self.is_script or self.wraps_compiled


class SeenModule(weakref.ref[nn.Module]):
    """A module that was met while a recording ran, and the weak reference to it: as one object, as in `Known`.

    Weak: a module swapped out during forward must not keep its parameters because somebody watches.
    """

    __slots__ = (
        *("calls_awaiting_backward", "code", "goes_straight", "key", "lines", "made", "of", "own_call", "parameters"),
        *("positions", "shows_ops", "torch_forward", "writes_unseen"),
    )

    key: int
    of: SeenClass
    own_call: CodeType | None
    code: CodeType | None
    positions: dict[int, Position]
    lines: dict[int, Line]
    made: Alike | None
    """What the last result was like, if it was one tensor."""
    goes_straight: bool
    torch_forward: CodeType | None
    shows_ops: bool
    writes_unseen: tuple[str, ...]
    """The tables of the module into whose tensors its forward may write by ops that are not shown."""
    parameters: int | None
    calls_awaiting_backward: list[OpenCall] | None

    # References to equal modules are equal, if both still live; these entries are as many as there are modules.
    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    def module(self) -> nn.Module | None:
        """The module, None if it is gone."""
        return self()


def seen_as(module: nn.Module, of: SeenClass, gone: Callable[[SeenModule], None]) -> SeenModule:
    """The entry of a module; `gone` is called with it once the module is gone."""
    seen = SeenModule(module, gone)
    seen.key, seen.of, seen.own_call, seen.torch_forward = id(module), of, of.own_call, of.torch_forward
    seen.code, seen.positions, seen.lines, seen.made = of.code, positions_in(of.code), of.lines, None
    seen.goes_straight = of.goes_straight and "_call_impl" not in module.__dict__
    seen.shows_ops = of.is_users and bool(module._modules)
    seen.writes_unseen = ()
    seen.parameters = seen.calls_awaiting_backward = None
    return seen


class HookRun:
    """One hook of one call, and what became of it.

    `changed` says whether it gave other numbers, `replaced` whether it gave other tensors.
    """

    __slots__ = ("changed", "file", "fired", "kind", "line", "name", "replaced")

    def __init__(self, kind: str, name: str, file: str | None, line: int | None) -> None:
        self.kind = kind
        self.name = name
        self.file = file
        self.line = line
        self.fired = False
        self.changed = self.replaced = False


class RareNotes:
    """What few calls have, so that the others need neither time nor memory for it."""

    __slots__ = (
        *("base_forward", "entry", "error", "failed_module", "forward_inputs", "forward_outputs"),
        *("in_backward", "opaque", "outer"),
    )

    def __init__(self) -> None:
        self.entry: Entry = "__call__"
        self.error: CallError | None = None
        self.opaque: str | None = None
        self.in_backward = False
        self.outer: tuple[CodeType, ...] = ()
        self.base_forward: Any = None
        """The forward of a base class that ran, which may name its parameters otherwise than the class's own."""
        self.forward_inputs: Leaves | None = None
        self.forward_outputs: Leaves | None = None
        """What `forward` itself was given and gave, if hooks are around it."""
        self.failed_module: FailedModule | None = None


NOTHING_RARE = RareNotes()
"""For those who read what a call has that has nothing of it."""


class OpenCall:
    """One call while it runs: references and numbers only; names and texts are found when the recording has ended."""

    __slots__ = (
        *("begin", "chain", "end", "given", "given_by_forward", "hooks", "inputs", "outputs", "parent", "position"),
        *("rare", "seen", "taken", "taken_by_forward", "thread"),
    )

    seen: SeenModule
    parent: OpenCall | None
    inputs: Leaves
    outputs: Leaves
    position: Position
    chain: tuple[CodeType, ...] | None
    hooks: dict[Any, HookRun] | None
    begin: int
    end: int
    thread: str | None
    rare: RareNotes | None
    taken: Noted
    """What data flow knows of the tensors in the inputs, and in `given` of those in the outputs."""
    given: Noted
    taken_by_forward: Noted
    given_by_forward: Noted

    def forget_tensors(self) -> None:
        """Let go of what is known of tensors, which knows the call that made them: that would be a circle."""
        self.taken = self.given = self.taken_by_forward = self.given_by_forward = ()

    def with_rare(self) -> RareNotes:
        """What few calls have, to be filled in."""
        if self.rare is None:
            self.rare = RareNotes()
        return self.rare


class OpenOp(Known):
    """One functional op, as noted when it ran, and what is known of the tensor that it made, if that was one.

    `given` is None then. What gave nothing, several tensors, or one that was known, or raised, is an OtherOp.
    """

    __slots__ = ("function", "inputs", "parent", "position", "taken")

    function: Any
    parent: OpenCall
    inputs: Leaves
    position: Position
    taken: Noted

    place = 0
    writer = None
    error: CallError | None = None
    given: Noted | None = None

    # References are equal if what they refer to is.
    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    @property
    def maker(self) -> OpenOp:
        """What made the tensor."""
        return self

    @property
    def outputs(self) -> Leaves:
        """The leaves of what it gave."""
        return self.like.as_output  # type: ignore[no-any-return]

    def gave(self) -> Noted:
        """What is known of the tensors that it gave."""
        return self if self.given is None else self.given

    def forget_tensors(self) -> None:
        """As in a call."""
        self.taken = ()


class OtherOp(OpenOp):
    """An op that did not make one new tensor: the parts that say something of such a tensor are not set."""

    __slots__ = ("error", "given", "outputs")

    outputs: Leaves

    def __init__(self, _: _Nothing) -> None:
        self.outputs, self.given, self.error = (), (), None

    def forget_tensors(self) -> None:
        """As in a call."""
        self.taken = self.given = ()


class _Nothing:
    """What an op refers to that made no tensor or several."""


NOTHING = _Nothing()


Note = OpenCall | OpenOp


class OpenCalls(list[OpenCall]):
    """The open calls of a thread, outermost first.

    `showing` is the measure of ops whose mode is on in the innermost, None if none is; `in_op` says whether an op runs.
    """

    __slots__ = ("in_op", "showing")

    def __init__(self) -> None:
        self.showing: object = None
        self.in_op = False
