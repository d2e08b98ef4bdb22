"""Functional ops between the calls: a torch function mode that is on only while a forward that shows its ops runs."""

from __future__ import annotations

import threading
from sys import _getframe
from types import FrameType
from typing import Any

from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from fwdtrace.recorder.alike import Alike, version_like
from fwdtrace.recorder.flow import DataFlow, last_changed
from fwdtrace.recorder.frames import Position, error_of, frame_role, from_torch, position_outside_torch
from fwdtrace.recorder.held import about_to_be_replaced
from fwdtrace.recorder.lines import Given, Line
from fwdtrace.recorder.measures.functions import (
    KINDS,
    METHOD_WRAPPER,
    NUMBERS_OUT,
    PLAIN,
    READS_GRAPH,
    counts_writes_apart,
    gives_nothing,
    is_query,
)
from fwdtrace.recorder.notes import (
    NOTHING,
    HookRun,
    KnownOtherwise,
    Leaves,
    Note,
    Noted,
    OpenCall,
    OpenOp,
    entries_of,
    filled,
)
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
        self._lines: dict[int, Line] = {}  # by the identity of the position
        self.flow = DataFlow(session)
        self._began = len(session.log)

    def inputs(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The leaves of what a call is given; where its tensors came from is noted."""
        if torch_function_modes():
            with without_torch_function():  # a mode of the user's must not see us read attributes, nor ours
                return self._quiet_inputs(call, args, kwargs)
        return self._quiet_inputs(call, args, kwargs)

    def _quiet_inputs(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The same where no mode of torch's listens; mostly one tensor that is as it was when it was met last."""
        if call.seen.writes_unseen:
            self.flow.looks_at_own(call)
        if len(args) == 1 and not kwargs:
            value = args[0]
            entry = self._leaves.known.get(id(value))
            is_same = entry is not None and entry() is value and entry.like.accepts(value)
            if is_same and (entry.version < 0 or entry.version == value._version):  # type: ignore[union-attr]
                call.taken = entry  # type: ignore[assignment]
                return entry.like.as_input  # type: ignore[union-attr, no-any-return]
        found: list[Any] = []
        leaves = self._leaves.read_inputs(args, kwargs, found)
        call.taken = self.flow.takes(found)
        return leaves

    def outputs(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what it gave; what is new among the tensors was made by it."""
        if torch_function_modes():
            with without_torch_function():
                return self._quiet_outputs(call, output)
        return self._quiet_outputs(call, output)

    def _quiet_outputs(self, call: OpenCall, output: Any) -> Leaves:
        """The same where no mode of torch's listens; mostly one tensor, like the one that the same module gave last."""
        if call.seen.writes_unseen:
            self.flow.sees_own_written(call)
        like, known, key = call.seen.made or self._leaves.last, self._leaves.known, id(output)
        if like.accepts(output) and not call.hooks:
            entry = known.get(key)
            if entry is None or entry() is not output:
                self.flow.sees_writes(call, call.taken)
                clock, version = len(self.session.log), version_like(output, like)
                call.given = known[key] = filled(KnownOtherwise(output), version, call, 0, None, clock, like)
                return like.as_output
        hook = last_changed(call, "forward") if call.hooks else None
        leaves, call.seen.made = self._read_output(call, output, hook)
        return leaves

    def _read_output(self, note: Note, output: Any, hook: HookRun | None = None) -> tuple[Leaves, Alike]:
        """The leaves of anything that is given, and what its last tensor is like; what is known of each is noted."""
        found: list[Any] = []
        leaves = self._leaves.read_output(output, found)
        like = self._leaves.last
        note.given = self.flow.gives(note, found, note.taken, hook)
        return leaves, like

    def _line(self, caller: FrameType, parent: OpenCall) -> Line:
        """The line of an op that the innermost open call, `parent`, has run from a frame."""
        seen = parent.seen
        position = position_outside_torch(caller, parent.position, seen.code)
        line = self._lines.get(id(position))
        if line is None:
            line = self._lines[id(position)] = Line(position, self._leaves.last)
        if caller.f_code is seen.code:
            seen.lines[caller.f_lasti] = line
        return line

    def _op_inputs(
        self, line: Line, args: tuple[Any, ...], kwargs: dict[str, Any], is_quiet: bool
    ) -> tuple[Leaves, Noted]:
        """The leaves of what an op is given, and what is known of its tensors: mostly like what the same line had."""
        names, values = (tuple(kwargs), (*args, *kwargs.values())) if kwargs else ((), args)
        given = line.given
        if is_quiet and given is not None and given.count == len(values) and given.names == names:
            compare = given.compare or given.made_compare()
            taken = compare(values, given.parts, self._leaves.known.get)
            if taken is not None:
                return given.inputs, taken
        found: list[Any] = []
        with without_torch_function():  # a mode of the user's must not see us read attributes
            inputs = self._leaves.read_inputs(args, kwargs, found)
            taken = self.flow.takes(found)
        if given is None or given.inputs is not inputs:
            line.given = Given(values, names, inputs, entries_of(taken))
        return inputs, taken

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
        if kind is PLAIN and type(function) is METHOD_WRAPPER:
            if is_query(function):
                if function == READS_GRAPH:
                    self.flow.is_replaced(about_to_be_replaced(_getframe(1)))
                return function(*args, **kwargs)
            if counts_writes_apart(function):
                with without_torch_function():
                    self.flow.are_written_apart(function, args)
        if kind.takes_numbers_out and not _leaves_graph(session, args):
            return function(*args, **kwargs)
        parent, caller = stack[-1], _getframe(1)
        line = parent.seen.lines.get(caller.f_lasti) if caller.f_code is parent.seen.code else None
        if line is None:
            line = self._line(caller, parent)
            if line.position[0] is not caller.f_code and from_torch(caller.f_code) and _shards(caller):
                return function(*args, **kwargs)
        given = args[::-1] if kind.is_reflected else args
        is_quiet = not torch_function_modes()  # torch has taken ours off
        inputs, taken = self._op_inputs(line, given, kwargs, is_quiet)
        others = session.measures
        op = _op_of(function, parent, line.position, inputs, taken) if others else None
        for other in others:
            other.begins(op, given, kwargs)  # type: ignore[arg-type]
        here.in_op = True
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            op = op or _op_of(function, parent, line.position, inputs, taken)
            op.error = with_index_outside(error_of(error), error, args, args[1] if len(args) > 1 else None)
            session.log.append(op)
            raise
        finally:
            here.in_op = False
        like, known = line.made, self._leaves.known
        if op is None and is_quiet and like.accepts(result):
            entry = known.get(id(result))
            if entry is None or entry() is not result:  # one new tensor, as mostly
                op = known[id(result)] = OpenOp(result)
                op.function, op.parent, op.position, op.error = function, parent, line.position, None
                op.inputs, op.taken, op.outputs, op.given = inputs, taken, like.as_output, None
                op.version, op.clock, op.like = version_like(result, like), len(session.log), like
                if not kind.only_reads:
                    self.flow.sees_writes(op, taken)
                    if kind.is_norm:
                        self.flow.sees_statistics(op)
                session.log.append(op)
                return result
        op = op or _op_of(function, parent, line.position, inputs, taken)
        with without_torch_function():
            op.outputs, line.made = self._read_output(op, result)
            if kind.is_norm:
                self.flow.sees_statistics(op)
        for other in others:
            other.ends(op, result)
        if op.given or kind.takes_numbers_out or gives_nothing(function) or self._only_writes(op, result):
            session.log.append(op)
        return result

    def _only_writes(self, op: OpenOp, result: Any) -> bool:
        """Whether an op gave nothing, and wrote into what it was given, as operators of other libraries may do."""
        if result is not None:
            return False
        with without_torch_function():
            return self.flow.wrote(op)


def _op_of(function: Any, parent: OpenCall, position: Position, inputs: Leaves, taken: Noted) -> OpenOp:
    """An op as it is noted before it has given anything."""
    op = OpenOp(NOTHING)
    op.function, op.parent, op.position, op.inputs, op.taken = function, parent, position, inputs, taken
    op.outputs, op.given, op.error = (), (), None
    return op


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
    return type(note) is OpenOp and note.error is None and not note.gave() and note.function in NUMBERS_OUT
