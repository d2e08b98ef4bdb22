"""Functional ops between the calls: a torch function mode that is on only while a forward that shows its ops runs."""

from __future__ import annotations

from sys import _getframe
from types import FrameType
from typing import Any

from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from fwdtrace.recorder.alike import version_like
from fwdtrace.recorder.call_flow import CallFlow
from fwdtrace.recorder.flow import DataFlow
from fwdtrace.recorder.frames import error_of, frame_role, from_torch, position_outside_torch
from fwdtrace.recorder.held import about_to_be_replaced
from fwdtrace.recorder.lines import Given, Line
from fwdtrace.recorder.measures.functions import (
    KINDS,
    METHOD_WRAPPER,
    NUMBERS_OUT,
    PLAIN,
    READS_GRAPH,
    FunctionKind,
    counts_writes_apart,
    gives_nothing,
    is_query,
)
from fwdtrace.recorder.notes import (
    NOTHING,
    Leaves,
    Note,
    Noted,
    OpenCall,
    OpenCalls,
    OpenOp,
    OtherOp,
    entries_of,
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
        self.is_stopped = False
        # By the identity of the position, and by where the op is if that is elsewhere, as in a library's function.
        self._lines: dict[int | tuple[int, int, int], Line] = {}
        self.flow = DataFlow(session)
        self.calls = CallFlow(session, self.flow)
        self._began = len(session.log)

    def _line(self, caller: FrameType, parent: OpenCall) -> Line:
        """The line of an op that the innermost open call, `parent`, has run from a frame."""
        seen = parent.seen
        position = position_outside_torch(caller, parent.position, seen.code)
        code = caller.f_code
        key = id(position) if position[0] is code else (id(position), id(code), caller.f_lasti)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(position, self._leaves.last)
        if code is seen.code:
            seen.lines[caller.f_lasti] = line
        return line

    def _op_inputs(self, line: Line, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> tuple[Leaves, Noted]:
        """The leaves of what an op is given, and what is known of its tensors; kept for the next op of the line."""
        found: list[Any] = []
        with without_torch_function():  # a mode of the user's must not see us read attributes
            inputs = self._leaves.read_inputs(args, kwargs or {}, found)
            taken = self.flow.takes(found)
        if line.given is None or not line.given.says(inputs):
            line.given = Given(args, kwargs, inputs, entries_of(taken), self._leaves)
        return inputs, taken

    def begins(self, stack: OpenCalls, call: OpenCall) -> str:
        """Turn the noting of ops on or off for this call, and say what had to be done, "" if nothing."""
        seen = call.seen
        if not stack:
            with without_torch_function():
                self.flow.learn_what_modules_hold()
        shown = seen.shows_ops or (seen.of.is_users and (self.in_leaves or not stack))
        if shown == (stack.showing is self):
            return ""
        if shown:
            stack.showing = self
            push_function_mode(self)
            return "pushed"
        stack.showing = None
        top = pop_function_mode()
        if top is self:
            return "popped"
        push_function_mode(top)  # a mode of the user's, which lies on ours
        return "muted"

    def ends(self, stack: OpenCalls, change: str) -> None:
        """Undo what `begins` did."""
        if change != "pushed":
            stack.showing = self
            if change == "popped":
                push_function_mode(self)
            return
        stack.showing = None
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
        session = self.session
        stack = session.threads.stack
        if stack.showing is not self or stack.in_op or not stack or self.is_stopped:
            return function(*args) if kwargs is None else function(*args, **kwargs)
        if kind is PLAIN and type(function) is METHOD_WRAPPER:
            if is_query(function):
                if function == READS_GRAPH:
                    self.flow.is_replaced(about_to_be_replaced(_getframe(1)))
                return function(*args) if kwargs is None else function(*args, **kwargs)
            if counts_writes_apart(function):
                with without_torch_function():
                    self.flow.are_written_apart(function, args)
        if kind.takes_numbers_out and not _leaves_graph(session, args):
            return function(*args) if kwargs is None else function(*args, **kwargs)
        parent, caller = stack[-1], _getframe(1)
        line = parent.seen.lines.get(caller.f_lasti) if caller.f_code is parent.seen.code else None
        if line is None:
            line = self._line(caller, parent)
            if line.position[0] is not caller.f_code and from_torch(caller.f_code) and _shards(caller):
                return function(*args, **(kwargs or {}))
        operands = args[::-1] if kind.is_reflected else args
        is_quiet = not torch_function_modes()  # torch has taken ours off
        leaves, given = self._leaves, line.given
        described = given.compare(operands, kwargs, given, leaves) if is_quiet and given is not None else None
        inputs, taken = described or self._op_inputs(line, operands, kwargs)
        op = None
        if session.measures:
            op = _other_op(function, parent, line, inputs, taken)
            for measure in session.measures:
                measure.begins(op, operands, kwargs or {})
        stack.in_op = True
        try:
            result = function(*args, **kwargs) if kwargs else function(*args)
        except BaseException as error:
            op = op or _other_op(function, parent, line, inputs, taken)
            op.error = with_index_outside(error_of(error), error, args, args[1] if len(args) > 1 else None)
            session.log.append(op)
            raise
        finally:
            stack.in_op = False
        if op is None and is_quiet:
            entry, like = leaves.known.get(id(result)), line.made
            if (entry is None or entry() is not result) and like.accepts(result):  # one new tensor, as mostly
                made = leaves.known[id(result)] = OpenOp(result)
                made.function, made.parent, made.position = function, parent, line.position
                made.inputs, made.taken, made.like, made.clock = inputs, taken, like, len(session.log)
                made.version = version_like(result, like)
                if not kind.only_reads:
                    self.flow.sees_writes(made, taken)
                    if kind.is_norm:
                        self.flow.sees_statistics(made)
                session.log.append(made)
                return result
        self._note(op or _other_op(function, parent, line, inputs, taken), line, result, kind)
        return result

    def _note(self, op: OtherOp, line: Line, result: Any, kind: FunctionKind) -> None:
        """Note what an op gave that is not one new tensor like the last one of its line, or that is measured."""
        with without_torch_function():
            op.outputs, line.made = self.calls.read_output(op, result)
            if kind.is_norm:
                self.flow.sees_statistics(op)
        for measure in self.session.measures:
            measure.ends(op, result)
        if op.given or kind.takes_numbers_out or gives_nothing(op.function) or self._only_writes(op, result):
            self.session.log.append(op)

    def _only_writes(self, op: OpenOp, result: Any) -> bool:
        """Whether an op gave nothing, and wrote into what it was given, as operators of other libraries may do."""
        if result is not None:
            return False
        with without_torch_function():
            return self.flow.wrote(op)


def _other_op(function: Any, parent: OpenCall, line: Line, inputs: Leaves, taken: Noted) -> OtherOp:
    """An op as it is noted before it has given anything."""
    op = OtherOp(NOTHING)
    op.function, op.parent, op.position, op.inputs, op.taken = function, parent, line.position, inputs, taken
    return op


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
    return isinstance(note, OpenOp) and note.error is None and not note.gave() and note.function in NUMBERS_OUT
