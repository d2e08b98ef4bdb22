"""Functional ops between the calls: a torch function mode that is on only while a forward that shows its ops runs."""

from __future__ import annotations

import threading
from sys import _getframe
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from fwdtrace.recorder.flow import DataFlow, last_changed, version_of
from fwdtrace.recorder.frames import error_of, frame_role, from_torch, position_outside_torch
from fwdtrace.recorder.measures.functions import (
    METHOD_WRAPPER,
    NUMBERS_OUT,
    ONLY_READS,
    REFLECTED,
    SILENT,
    is_query,
)
from fwdtrace.recorder.notes import HookRun, Known, Leaves, Note, Noted, OpenCall, OpenOp, entries_of
from fwdtrace.recorder.outside import with_index_outside
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import (
    FSDP_FOLDER,
    leads_to_ops,
    pop_function_mode,
    push_function_mode,
    top_function_mode,
    torch_function_modes,
    without_torch_function,
)

_WHOLE = frozenset((type(None), bool, int, float, str, torch.dtype, torch.device))
"""Arguments of these types are described by themselves alone."""


class _Line:
    """What an op at one place in the code was given and gave last; it is mostly given and gives what is like that."""

    __slots__ = ("given", "inputs", "names")

    def __init__(self, given: list[Any] | None, names: tuple[str, ...], inputs: Leaves) -> None:
        self.given = given
        """Of each argument how it is described if it is a tensor, or else itself; None if that does not describe it."""
        self.names = names
        """Those of the last arguments, which were given by name."""
        self.inputs = inputs


class Ops(TorchFunctionMode):
    """The measure of functional ops: a mode of torch's, turned on and off with the forwards that show their ops.

    It is off inside leaf modules and torch's own, because fused fast paths ask whether a mode is on; with `in_leaves`,
    it is on inside the leaf modules of the user.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.in_leaves = False
        self.session = session
        self._leaves = session.leaves
        self.here = _InThread(session)
        self.is_stopped = False
        self._lines: dict[int, _Line] = {}  # by the identity of the position
        self.flow = DataFlow(session)
        self._began = len(session.log)

    def inputs(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The leaves of what a call is given; where its tensors came from is noted."""
        if torch_function_modes():
            with without_torch_function():  # a mode of the user's must not see us read attributes, nor ours
                return self._quiet_inputs(call, args, kwargs)
        return self._quiet_inputs(call, args, kwargs)

    def _quiet_inputs(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The same where no mode of torch's listens."""
        found: list[Any] = []
        leaves = self._leaves.read_inputs(args, kwargs, found)
        call.taken = self.flow.takes(found)
        return leaves

    def outputs(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what it gave; what is new among the tensors was made by it."""
        hook = last_changed(call, "forward") if call.hooks else None
        if torch_function_modes():
            with without_torch_function():
                return self._quiet_outputs(call, output, hook)
        return self._quiet_outputs(call, output, hook)

    def _quiet_outputs(self, call: OpenCall, output: Any, hook: HookRun | None = None) -> Leaves:
        """The same where no mode of torch's listens."""
        entry = self._leaves.known.get(id(output))
        found: list[Any]
        if entry is not None and entry() is output and entry.like.accepts(output):
            leaves, found = entry.like.as_output, [entry]
        else:
            leaves, found = self._read_output(id(call.seen), output)
        call.given = self.flow.gives(call, found, call.taken, hook)
        return leaves  # type: ignore[no-any-return]

    def op_begins(self, op: OpenOp, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what an op is given: mostly what is like that which the same line was given before."""
        line = self._lines.get(id(op.position))
        found: list[Any] = []
        names, values = (tuple(kwargs), (*args, *kwargs.values())) if kwargs else ((), args)
        if line is not None and line.given is not None and len(values) == len(line.given) and names == line.names:
            known = self._leaves.known
            for value, before in zip(values, line.given, strict=True):
                if value is before:
                    continue
                entry = known.get(id(value))
                if entry is None or entry.like is not before or entry() is not value or not before.accepts(value):
                    break
                if entry.version >= 0 and entry.version != value._version:
                    break
                found.append(entry)
            else:
                op.inputs = line.inputs
                op.taken = found[0] if len(found) == 1 else found or ()
                return
            found.clear()
        op.inputs = self._leaves.read_inputs(args, kwargs, found)
        op.taken = self.flow.takes(found)
        if line is None or line.inputs is not op.inputs:
            self._lines[id(op.position)] = _Line(_given(values, op.taken), names, op.inputs)

    def op_ends(self, op: OpenOp, result: Any, only_reads: bool = False) -> None:
        """Note what an op gave: mostly one new tensor, which is like the one that the same line gave before."""
        leaves = self._leaves
        alike = leaves.made_at.get(id(op.position), leaves.last)
        if not alike.accepts(result):
            op.outputs, found = self._read_output(id(op.position), result)
            op.given = self.flow.gives(op, found, op.taken)
            return
        op.outputs = alike.as_output
        known, key = leaves.known, id(result)
        entry = known.get(key)
        if entry is not None and entry() is result:
            op.given = self.flow.gives(op, [entry], op.taken)
            return
        if not only_reads:
            self.flow.sees_writes(op, op.taken)
        entry = op.given = known[key] = Known(result)
        entry.version, entry.maker, entry.place = version_of(result), op, 0
        entry.writer, entry.clock, entry.like = None, len(self.session.log), alike

    def _read_output(self, place: int, output: Any) -> tuple[Leaves, list[Any]]:
        """The leaves of what is given at a place, and its tensors as a LeafTable finds them."""
        found: list[Any] = []
        made = self._leaves.read_output(output, found)
        self._leaves.made_at[place] = self._leaves.last
        return made, found

    def inputs_of_forward(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The leaves of what a call's `forward` is given behind its pre-hooks, which may have replaced it."""
        with without_torch_function():
            found: list[Any] = []
            leaves = self._leaves.read_inputs(args, kwargs, found)
            call.taken_by_forward = self.flow.takes(found, last_changed(call, "forward_pre"))
            return leaves

    def outputs_of_forward(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what a call's `forward` gives to its forward hooks, which may replace it."""
        with without_torch_function():
            found: list[Any] = []
            leaves = self._leaves.read_output(output, found)
            call.given_by_forward = self.flow.gives(call, found, call.taken_by_forward)
            return leaves

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Turn the noting of ops on or off for this call."""
        assert type(call) is OpenCall
        here, seen = self.here.state, call.seen
        if not here.stack:
            with without_torch_function():
                self.flow.learn_what_modules_hold()
        shown = seen.shows_ops or (seen.of.is_users and (self.in_leaves or not here.stack))
        if shown == here.shows_ops:
            here.changes.append("")
            return
        here.shows_ops = shown
        if shown:
            push_function_mode(self)
            here.changes.append("pushed")
        elif top_function_mode() is self:
            pop_function_mode()
            here.changes.append("popped")
        else:  # a mode of the user's lies on ours
            here.changes.append("muted")

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Undo what `begins` did for this call."""
        here = self.here.state
        change = here.changes.pop()
        if not change:
            return
        here.shows_ops = not here.shows_ops
        if change == "popped":
            push_function_mode(self)
        elif change == "pushed":
            above = []
            while top_function_mode() is not self:  # the user's forward left a mode behind: it stays, ours goes
                above.append(pop_function_mode())
            pop_function_mode()
            for mode in reversed(above):
                push_function_mode(mode)

    def stop(self) -> None:
        """Note no more ops; a mode that is on is turned off where its call ends."""
        self.is_stopped = True
        self.flow.stop()
        for note in self.session.log[self._began :]:
            note.forget_tensors()

    @frame_role("stand-in")
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function; note what it was given and what it gave if it is an op of the innermost open call."""
        if is_dynamo_compiling():
            return function(*args, **(kwargs or {}))
        try:
            if function in SILENT:
                return function(*args) if kwargs is None else function(*args, **kwargs)
            only_reads, takes_out = function in ONLY_READS, function in NUMBERS_OUT
            given = args[::-1] if function in REFLECTED else args
        except TypeError:  # a callable that cannot be hashed
            only_reads, takes_out, given = False, False, args
        if kwargs is None:
            kwargs = {}
        session = self.session
        if type(function) is METHOD_WRAPPER and is_query(function):
            return function(*args, **kwargs)
        if takes_out and not _leaves_graph(session, args):
            return function(*args, **kwargs)
        here = self.here.state
        stack = here.stack
        caller = _getframe(1)
        if not here.shows_ops or not stack or here.in_op or self.is_stopped:
            return function(*args, **kwargs)
        if from_torch(caller.f_code) and _shards(caller):
            return function(*args, **kwargs)
        op = OpenOp()
        parent = op.parent = stack[-1]
        op.function = function
        op.position = position_outside_torch(caller, parent.position)
        quiet = not torch_function_modes()  # torch has taken ours off
        if quiet:
            self.op_begins(op, given, kwargs)
        else:
            with without_torch_function():  # a mode of the user's must not see us read attributes
                self.op_begins(op, given, kwargs)
        op.outputs = ()
        op.error = None
        others = session.measures
        if others:
            for other in others:
                other.begins(op, given, kwargs)
        here.in_op = True
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            op.error = with_index_outside(error_of(error), error, args, args[1] if len(args) > 1 else None)
            session.log.append(op)
            raise
        finally:
            here.in_op = False
        if quiet:
            self.op_ends(op, result, only_reads)
        else:
            with without_torch_function():
                self.op_ends(op, result, only_reads)
        if others:
            for other in others:
                other.ends(op, result)
        if op.given or function is Tensor.__setitem__ or takes_out:
            session.log.append(op)
        return result


def _given(values: tuple[Any, ...], taken: Noted) -> list[Any] | None:
    """The arguments of an op, each tensor as how it is described; None if there is more in them, such as a tuple."""
    entries = iter(entries_of(taken))
    given: list[Any] = []
    for value in values:
        if isinstance(value, Tensor):
            entry = next(entries, None)
            if entry is None:
                return None
            given.append(entry.like)
        elif type(value) in _WHOLE:
            given.append(value)
        else:
            return None
    return given


class _State:
    """Whether the innermost open call shows its ops, whether one runs, and what each open call changed."""

    __slots__ = ("changes", "in_op", "shows_ops", "stack")

    def __init__(self, stack: list[OpenCall]) -> None:
        self.stack = stack
        self.shows_ops = False
        self.in_op = False
        self.changes: list[str] = []


class _InThread(threading.local):
    """The state of this thread; to look up one attribute of a thread's own takes as long as three others."""

    def __init__(self, session: Session) -> None:
        self.state = _State(session.threads.stack)


def _shards(frame: FrameType | None) -> bool:
    """Whether FSDP runs an op, to bring parameters together in memory that may have held anything before."""
    while frame is not None and leads_to_ops(frame.f_code.co_filename):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(FSDP_FOLDER)


def _leaves_graph(session: Session, args: tuple[Any, ...]) -> bool:
    """Whether what takes numbers out of a tensor takes them out of a graph, and somebody wants to know."""
    if not any(recorded.options.gradients for recorded in session.recordings):
        return False
    with without_torch_function():
        return bool(args) and isinstance(args[0], Tensor) and args[0].requires_grad


def takes_numbers_out(note: Note) -> bool:
    """Whether an op is noted only for those who asked for gradients."""
    return type(note) is OpenOp and note.error is None and not note.given and note.function in NUMBERS_OUT
