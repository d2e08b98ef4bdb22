"""The two boundaries of a call, `__call__` and `forward`, wrapped while somebody records.

No hooks are added: with hooks of ours every module would leave the fast path that it really takes.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import _getframe
from threading import current_thread
from time import perf_counter_ns
from types import FrameType, FunctionType
from typing import Any

from torch.compiler import is_dynamo_compiling
from torch.nn.modules.module import Module

from fwdtrace.recorder.alike import Alike
from fwdtrace.recorder.code_exchange import Observer, exchange
from fwdtrace.recorder.entered import how_entered, through_override
from fwdtrace.recorder.frames import (
    codes_between,
    error_of,
    frame_role,
    original_of,
    position_of_caller,
    position_outside_torch,
    runs_in_a_call,
)
from fwdtrace.recorder.hooks import list_hooks, watch_hooks
from fwdtrace.recorder.modules import meet
from fwdtrace.recorder.notes import OpenCall, OpenCalls
from fwdtrace.recorder.outside import with_index_outside
from fwdtrace.recorder.session import Session, running
from fwdtrace.recorder.torch_internals import (
    CALL_CODE,
    GLOBAL_HOOKS,
    INNER_CODE,
    STOP_RECOMPUTATION,
    TORCHS_CALL,
    WRAPPED_CALL_CODE,
    graph_task,
    is_no_plain_run,
    is_tracing,
)
from fwdtrace.trace import Entry, FailedModule

_FAST_PATH = (WRAPPED_CALL_CODE, CALL_CODE)
"""The chain of a module that has nothing to run but its forward."""

_PRE, _FORWARD, _BACKWARD_PRE, _BACKWARD = (hooks for _, hooks in GLOBAL_HOOKS)


def observe_calls(session: Session) -> Callable[[], None]:
    """Put our boundary in place of `Module.__call__`, whoever's that is; what this returns takes it out again."""
    replaced = Module.__call__
    found = getattr(replaced, "fwdtrace_found", replaced)  # one of ours that somebody had kept, and put back
    boundary = _boundary(found)
    session.straight = found is TORCHS_CALL
    Module.__call__ = boundary  # type: ignore[method-assign]

    def take_out() -> None:
        if Module.__call__ is boundary:
            Module.__call__ = found  # type: ignore[method-assign]
        else:  # somebody's function may go on calling ours: from now on it only passes calls on
            boundary.__code__ = _passing_on(found).__code__

    return take_out


def _boundary(found: Callable[..., Any]) -> FunctionType:
    """In place of `Module.__call__`: open a call, and go on to what was found there."""

    @frame_role("call")
    def observed_call(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        # Under torch.compile and torch.jit.trace every step we take would become part of the user's graph.
        if is_dynamo_compiling():
            return found(module, *args, **kwargs)
        session = running.session
        if session is None:
            return found(module, *args, **kwargs)
        like = session.leaves.like_of_known(args[0]) if len(args) == 1 and not kwargs else None
        if like is None and is_tracing():  # which no tensor is accepted in
            return found(module, *args, **kwargs)
        stack = session.threads.stack
        seen = session.seen.get(id(module)) or meet(session, module, stack, observe_forward)
        if seen is None:
            if not stack:
                _hear(session, module, "__call__", _getframe(1))
            return found(module, *args, **kwargs)
        call = OpenCall()
        call.seen = seen
        call.chain = call.hooks = call.rare = None
        frame = _getframe(1)
        if seen.own_call is not None:
            call.with_rare().outer, frame = through_override(module, seen.own_call, frame)
        own = module.__dict__
        if "_compiled_call_impl" in own and own["_compiled_call_impl"] is not None:
            call.with_rare().opaque = "compiled"
        elif (
            own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
            or _PRE or _FORWARD or _BACKWARD_PRE or _BACKWARD
        ):  # fmt: skip
            call.hooks = watch_hooks(module, call)
        return _run(session, call, stack, frame, like, found, module, args, kwargs)

    observed_call.fwdtrace_found = found  # type: ignore[attr-defined]
    return observed_call  # type: ignore[return-value]


def _passing_on(found: Callable[..., Any]) -> FunctionType:
    @frame_role("stand-in")
    def passing_on(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        return found(module, *args, **kwargs)

    return passing_on  # type: ignore[return-value]


def observe_forward(forward: FunctionType) -> Callable[[], None]:
    """Have a forward note that the open call reached it, or open a call that had no `__call__`."""
    return exchange(forward, _IN_FORWARD)


@frame_role("boundary")
def _reached(module: Any) -> bool:
    """Whether the forward that asks may just run: it is the one that the open call was on its way to."""
    session = running.session
    if session is None:
        return True
    stack = session.threads.stack
    if not stack:
        return False
    call = stack[-1]
    seen = call.seen
    if call.chain is not None or seen.key != id(module) or call.hooks:
        return False
    # To look at a frame takes long: between these two only that can be which torch's own `__call__` goes on to.
    if seen.goes_straight and _getframe(3).f_code is WRAPPED_CALL_CODE:
        call.chain = _FAST_PATH
        return True
    frame = _getframe(2)
    if frame.f_code is not CALL_CODE and frame.f_code is not INNER_CODE:
        return False
    call.chain = codes_between(frame)
    return True


@frame_role("boundary")
def _run_between_hooks(
    original: Callable[..., Any], call: OpenCall, session: Session, module: Any, args: Any, kwargs: Any
) -> Any:
    args, kwargs = _without_defaults(original, args, kwargs)
    leaves, calls = session.leaves, None if session.ops is None else session.ops.calls
    rare = call.with_rare()
    rare.forward_inputs = (
        leaves.of_inputs(args, kwargs) if calls is None else calls.inputs_of_forward(call, args, kwargs)
    )
    output = original(module, *args, **kwargs)
    rare.forward_outputs = leaves.of_output(output) if calls is None else calls.outputs_of_forward(call, output)
    return output


@frame_role("boundary")
def _enter_otherwise(original: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a forward that has hooks around it, or was not entered from the `__call__` of the innermost open call."""
    session = running.session
    if session is None:
        return original(module, *args, **kwargs)
    stack = session.threads.stack
    inner = stack[-1] if stack and stack[-1].seen.key == id(module) else None
    if inner is not None and inner.chain is not None and not inner.hooks and id(original) not in inner.seen.of.forwards:
        return original(module, *args, **kwargs)  # a decorator goes on to what it found: the same call
    frame = _getframe(2)
    is_called = frame.f_code is CALL_CODE or frame.f_code is INNER_CODE
    if is_called and inner is not None and inner.chain is None:
        inner.chain = codes_between(frame)
        return _run_between_hooks(original, inner, session, module, args, kwargs)
    seen = None
    if not is_tracing():
        seen = session.seen.get(id(module)) or meet(session, module, stack, observe_forward)
    if seen is None:
        if not stack:
            _hear(session, module, "forward", frame)
        return original(module, *args, **kwargs)
    how = how_entered(module, original, frame)
    open_already = stack[-1] if stack and stack[-1].seen is seen else None
    if how == "same call" or (how == "call" and open_already is not None):
        if open_already is not None and open_already.chain is None:
            open_already.chain = codes_between(frame)
        return original(module, *args, **kwargs)
    call = OpenCall()
    call.seen = seen
    call.rare = None
    if how == "direct":
        call.with_rare().entry = "forward"
    if how == "override" and seen.own_call is not None:
        call.with_rare().outer, frame = through_override(module, seen.own_call, frame)
    if how == "direct" and "forward" not in module.__dict__:
        own = type(module).forward
        if own is not original_of(own) is not original:
            call.with_rare().base_forward = original
    call.chain = codes_between(frame) if how == "call" else ()
    call.hooks = list_hooks(module)
    args, kwargs = _without_defaults(original, args, kwargs)
    return _run(session, call, stack, frame, None, original, module, args, kwargs)


def _without_defaults(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments without those that are the forward's own defaults, which no caller need have given."""
    function: Any = forward
    code, defaults, by_name = function.__code__, function.__defaults__ or (), function.__kwdefaults__ or {}
    names = code.co_varnames[1 : code.co_argcount]
    kwargs = {name: value for name, value in kwargs.items() if name not in by_name or value is not by_name[name]}
    first = len(names) - len(defaults)
    if first < 0 or len(args) != len(names):  # more than have names; then none was left out
        return args, kwargs
    left_out = [place for place, default in enumerate(defaults, first) if args[place] is default]
    if not left_out:
        return args, kwargs
    later = range(left_out[0] + 1, len(names))
    if left_out[0] + 1 < code.co_posonlyargcount:  # what has no name must stay where it is
        return args, kwargs
    given = {names[place]: args[place] for place in later if place not in left_out}
    return args[: left_out[0]], {**given, **kwargs}


@frame_role("call")
def _run(
    session: Session,
    call: OpenCall,
    stack: OpenCalls,
    frame: FrameType,
    like: Alike | None,
    run: Callable[..., Any],
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run what a boundary goes on to, and note what goes in, what comes out and how it ends.

    `like` is what the only argument is like, if that is known already.
    """
    depth = len(stack)
    call.outputs = ()
    call.begin = call.end = 0
    if stack:
        parent = call.parent = stack[-1]
        call.thread = parent.thread
        caller, code = parent.seen, frame.f_code
        if code is caller.code:
            call.position = caller.positions.get(frame.f_lasti) or position_outside_torch(frame, parent.position, code)
        elif code is caller.torch_forward:  # nn.Sequential and the like: the line that called them
            call.position = parent.position
        else:
            call.position = position_outside_torch(frame, parent.position, caller.code)
    else:
        _begin_in_thread(session, call, stack, frame)
    ops = session.ops
    change = "" if ops is None else ops.begins(stack, call)
    try:
        if ops is not None:
            call.inputs = ops.calls.inputs(call, args, kwargs, like)
        else:
            call.inputs = session.leaves.of_inputs(args, kwargs) if like is None else like.as_input
        session.log.append(call)  # complete: another thread may end a recording now
        measures = session.measures
        if measures:
            for measure in measures:
                measure.begins(call, args, kwargs)
        stack.append(call)
        call.begin = perf_counter_ns()
        output = run(module, args[0]) if len(args) == 1 and not kwargs else run(module, *args, **kwargs)
        call.end = perf_counter_ns()
        if ops is not None:
            call.outputs = ops.calls.outputs(call, output)
        else:
            last = session.leaves.last
            call.outputs = last.as_output if last.accepts(output) else session.leaves.of_output(output)
        if measures:
            for measure in reversed(measures):
                measure.ends(call, output)
        return output
    except BaseException as error:
        try:  # noqa: SIM105  # where there is no room for more calls, there is none for a block of contextlib's
            _note_error(session, call, error, args)
        except RecursionError:
            pass
        raise
    finally:
        del stack[depth:]
        if change and ops is not None:
            ops.ends(stack, change)


def _begin_in_thread(session: Session, call: OpenCall, stack: OpenCalls, frame: FrameType) -> None:
    """Fill in what a call gets from its caller when nothing is open in its thread."""
    if graph_task() != -1:
        call.with_rare().in_backward = True
    call.position = position_of_caller(frame)
    if any(recorded.home is stack for recorded in session.recordings):  # this thread works for no other's recording
        call.parent = call.thread = None
        return
    call.thread = current_thread().name
    if runs_in_a_call(frame):  # one that began before any recording did, as what is observed is on the stack
        call.parent = None
        return
    homes = [recorded.home[:] for recorded in session.recordings if call.seen in recorded.names]
    # A module that is being called there did not start this thread to be called again: that is somebody else's call.
    works_for = (home[-1] for home in homes if home and all(above.seen is not call.seen for above in home))
    call.parent = next(works_for, None)
    if call.parent is None:
        _hear(session, call.seen.module(), "__call__" if call.rare is None else call.rare.entry, frame)


def _hear(session: Session, module: Any, entry: Entry, frame: FrameType) -> None:
    """Tell of a call that is in no other and of no recording, if it is a plain run."""
    if session.elsewhere and not is_no_plain_run() and not runs_in_a_call(frame):
        for hears in session.elsewhere:
            hears(module, entry)


def _note_error(session: Session, call: OpenCall, error: BaseException, args: tuple[Any, ...]) -> None:
    call.end = perf_counter_ns()
    if type(error).__name__ == STOP_RECOMPUTATION:
        return
    rare = call.with_rare()
    rare.error = error_of(error)
    module = call.seen.module()
    if module is not None and not rare.error.raised_below:
        tensors = *args[:1], module._parameters.get("weight")
        rare.error = with_index_outside(rare.error, error, tensors, args[1] if len(args) > 1 else None)
        rare.failed_module = _failed(session, module)


def _failed(session: Session, module: Any) -> FailedModule:
    """The module's own parameters and buffers and its settings, which explain why it could not run."""
    own = {**module._parameters, **module._buffers}
    state = session.leaves.of_inputs((), {name: tensor for name, tensor in own.items() if tensor is not None})
    try:
        settings = str(module.extra_repr())
    except Exception:  # the user's own method, which must not replace the error it is asked about
        settings = ""
    return FailedModule(state, settings or None)


_IN_FORWARD = Observer(_reached, _enter_otherwise)
