"""Functional ops between the calls: a torch function mode that is on only while a forward that shows its ops runs."""

from __future__ import annotations

import threading
from sys import _getframe
from types import FrameType
from typing import Any

from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from fwdtrace.recorder.alike import NO_VERSION, version_of
from fwdtrace.recorder.flow import DataFlow, last_changed
from fwdtrace.recorder.frames import error_of, frame_role, from_torch, position_outside_torch
from fwdtrace.recorder.lines import Given, Line
from fwdtrace.recorder.measures.functions import KINDS, METHOD_WRAPPER, NUMBERS_OUT, PLAIN, is_query
from fwdtrace.recorder.notes import HookRun, Known, Leaves, Note, OpenCall, OpenOp, entries_of
from fwdtrace.recorder.outside import with_index_outside
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import (
    FSDP_FOLDER,
    leads_to_ops,
    pop_function_mode,
    push_function_mode,
    torch_function_modes,
    without_torch_function,
)

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
        self._lines: dict[int, Line] = {}  # by the identity of the position of an op, or of the entry of a module
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
        if len(args) == 1 and not kwargs:
            entry = self._leaves.known_still(args[0])
            if entry is not None:
                call.taken = entry
                return entry.like.as_input  # type: ignore[no-any-return]
        found: list[Any] = []
        leaves = self._leaves.read_inputs(args, kwargs, found)
        call.taken = self.flow.takes(found)
        return leaves

    def outputs(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what it gave; what is new among the tensors was made by it."""
        hook = last_changed(call, "forward") if call.hooks else None
        if torch_function_modes():
            with without_torch_function():
                self._ends(call, self._line(call.seen), output, hook=hook)
        else:
            self._ends(call, self._line(call.seen), output, hook=hook)
        return call.outputs

    def _line(self, of: object) -> Line:
        line = self._lines.get(id(of))
        if line is None:
            line = self._lines[id(of)] = Line(self._leaves.last)
        return line

    def _begins(self, op: OpenOp, line: Line, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what an op is given: mostly what is like that which the same line was given before."""
        names, values = (tuple(kwargs), (*args, *kwargs.values())) if kwargs else ((), args)
        given = line.given
        if given is not None and given.count == len(values) and given.names == names:
            taken = given.compare(values, given.parts, self._leaves.known.get)
            if taken is not None:
                op.taken, op.inputs = taken, given.inputs
                return
        found: list[Any] = []
        op.inputs = self._leaves.read_inputs(args, kwargs, found)
        op.taken = self.flow.takes(found)
        if given is None or given.inputs is not op.inputs:
            line.given = Given(values, names, op.inputs, entries_of(op.taken))

    def _ends(
        self, note: Note, line: Line, result: Any, only_reads: bool = False, hook: HookRun | None = None
    ) -> None:
        """Note what a call or op gave: mostly one new tensor, which is like the one that the same line gave before."""
        like, known, key = line.made, self._leaves.known, id(result)
        if not like.accepts(result):
            found: list[Any] = []
            note.outputs = self._leaves.read_output(result, found)
            line.made = self._leaves.last
            note.given = self.flow.gives(note, found, note.taken, hook)
            return
        note.outputs = like.as_output
        entry = known.get(key)
        if entry is not None and entry() is result:
            note.given = self.flow.gives(note, [entry], note.taken, hook)
            return
        if not only_reads:
            self.flow.sees_writes(note, note.taken)
        entry = note.given = known[key] = Known(result)
        try:
            entry.version = result._version if like.has_version else version_of(result)
        except RuntimeError:  # made in inference mode, which is over
            entry.version = NO_VERSION
        entry.maker, entry.place, entry.writer = note, 0, None
        entry.clock, entry.like = len(self.session.log), like
        if hook is not None and type(note) is OpenCall:
            self.flow.replaced[note, 0] = hook

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
            return
        top = pop_function_mode()
        if top is self:
            here.changes.append("popped")
        else:  # a mode of the user's lies on ours
            push_function_mode(top)
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
            while (top := pop_function_mode()) is not self:  # the user's forward left a mode behind: it stays
                above.append(top)
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
            kind = KINDS.get(function, PLAIN)
        except TypeError:  # a callable that cannot be hashed
            kind = PLAIN
        if kind.is_silent:
            return function(*args) if kwargs is None else function(*args, **kwargs)
        if kwargs is None:
            kwargs = {}
        here, session = self.here.state, self.session
        stack = here.stack
        if not here.shows_ops or here.in_op or not stack or self.is_stopped:
            return function(*args, **kwargs)
        if kind is PLAIN and type(function) is METHOD_WRAPPER and is_query(function):
            return function(*args, **kwargs)
        if kind.takes_numbers_out and not _leaves_graph(session, args):
            return function(*args, **kwargs)
        caller = _getframe(1)
        op = OpenOp()
        parent = op.parent = stack[-1]
        position = op.position = position_outside_torch(caller, parent.position, parent.seen.code)
        if position[0] is not caller.f_code and from_torch(caller.f_code) and _shards(caller):
            return function(*args, **kwargs)
        op.function = function
        op.outputs = ()
        op.error = None
        given = args[::-1] if kind.is_reflected else args
        line = self._lines.get(id(position)) or self._line(position)
        quiet = not torch_function_modes()  # torch has taken ours off
        if quiet:
            self._begins(op, line, given, kwargs)
        else:
            with without_torch_function():  # a mode of the user's must not see us read attributes
                self._begins(op, line, given, kwargs)
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
            self._ends(op, line, result, kind.only_reads)
        else:
            with without_torch_function():
                self._ends(op, line, result, kind.only_reads)
        if others:
            for other in others:
                other.ends(op, result)
        if op.given or function is Tensor.__setitem__ or kind.takes_numbers_out:
            session.log.append(op)
        return result


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
