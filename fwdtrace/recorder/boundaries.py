"""The two boundaries of a call, `__call__` and `forward`, wrapped while somebody records.

No hooks are added: with hooks of ours every module would leave the fast path that it really takes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from sys import _getframe
from threading import current_thread
from time import perf_counter_ns
from types import CodeType, FrameType, FunctionType
from typing import Any

from torch.compiler import is_dynamo_compiling

from fwdtrace.recorder.describe import describe_inputs, describe_output, named_by_parameters, positional_names
from fwdtrace.recorder.frames import (
    codes_between,
    error_of,
    how_entered,
    is_ours,
    position_outside_torch,
    through_override,
)
from fwdtrace.recorder.hooks import list_hooks, watch_hooks
from fwdtrace.recorder.measures.finite import are_finite, note_values
from fwdtrace.recorder.measures.gradients import forward_begins, forward_ends
from fwdtrace.recorder.measures.ops import switch, switch_back
from fwdtrace.recorder.modules import meet
from fwdtrace.recorder.notes import (
    FAST_PATH,
    OpenCall,
    keepers,
    log,
    recordings,
    recordings_of_gradients,
    recordings_of_ops,
    recordings_of_values,
    seen,
    stacks,
    value_options,
)
from fwdtrace.recorder.torch_internals import (
    CALL_CODE,
    GLOBAL_HOOKS,
    GRAPHS_HOLD_MODULES,
    INNER_CODE,
    MODULE_CALL,
    STOP_RECOMPUTATION,
    WRAPPED_CALL_CODE,
    tracing_state,
)

_PRE, _FORWARD, _BACKWARD_PRE, _BACKWARD = (hooks for _, hooks in GLOBAL_HOOKS)


def observed_call(module: Any, /, *args: Any, **kwargs: Any) -> Any:
    """In place of `Module.__call__`: open a call, run it, note how it ended."""
    # Under torch.compile and torch.jit.trace every step we take would become part of the user's graph.
    if is_dynamo_compiling() or tracing_state():
        return MODULE_CALL(module, *args, **kwargs)
    stack = stacks.stack
    entry = seen.get(id(module)) or meet(module, stack, observe_forward)
    if entry is None or (GRAPHS_HOLD_MODULES and _is_in_graph(stack)):
        return MODULE_CALL(module, *args, **kwargs)
    call = OpenCall()
    call.seen = entry
    call.entry = "__call__"
    call.chain = call.hooks = call.error = call.opaque = call.kept_by = call.extra = None
    call.outputs = call.outer = ()
    call.end = 0
    depth = len(stack)
    switched = ""
    try:
        frame = _getframe(1)
        if entry.own_call is not None:
            call.outer, frame = through_override(module, entry.own_call, frame)
        if stack:
            parent = call.parent = stack[-1]
            call.thread = parent.thread
            if frame.f_code is parent.seen.torch_forward:  # nn.Sequential and the like: the line that called them
                call.position = parent.position
            else:
                call.position = position_outside_torch(frame, parent.position)
        else:
            _begin_in_thread(call, stack, frame)
        if recordings_of_ops:
            switched = switch(entry, not stack)
        call.inputs = describe_inputs(args, kwargs)
        log.append(call)
        own = module.__dict__
        if own.get("_compiled_call_impl") is not None:
            call.opaque = "compiled"
        elif (
            own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
            or _PRE or _FORWARD or _BACKWARD_PRE or _BACKWARD
        ):  # fmt: skip
            call.hooks = watch_hooks(module, call)
        inputs_finite = not recordings_of_values or are_finite(args, kwargs)
        for keeper in keepers:
            keeper.inputs(call, *args, kwargs)
        stack.append(call)
        if recordings_of_gradients:
            forward_begins(call)
        call.begin = perf_counter_ns()
        output = MODULE_CALL(module, *args, **kwargs)
        call.end = perf_counter_ns()
        call.outputs = describe_output(output)
        if recordings_of_gradients:
            forward_ends(call, output)
        if recordings_of_values:
            note_values(call, value_options(), inputs_finite, output, module)
        for keeper in keepers:
            keeper.outputs(call, output)
        return output
    except BaseException as error:
        _note_error(call, error)
        raise
    finally:
        del stack[depth:]
        if switched:
            switch_back(switched)


def observe_forward(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of a `forward`: note that the open call reached it, or open a call that had no `__call__`."""
    # Free variables only: the function lives with the original's globals, in which torch.jit.script looks names up.
    compiling, frame_at, identity, threads, modules = is_dynamo_compiling, _getframe, id, stacks, seen
    from_call, from_inner, wrapped_call = CALL_CODE, INNER_CODE, WRAPPED_CALL_CODE
    fast_path, between, otherwise, between_hooks = FAST_PATH, codes_between, _enter_otherwise, _run_between_hooks

    def forward(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        if compiling():
            return original(module, *args, **kwargs)
        frame = frame_at(1)
        code = frame.f_code
        if code is from_call or code is from_inner:
            stack = threads.stack
            if stack:
                call = stack[-1]
                if call.chain is None and call.seen is modules.get(identity(module)):
                    fast = code is from_call and frame.f_back.f_code is wrapped_call  # type: ignore[union-attr]
                    call.chain = fast_path if fast else between(frame)
                    if call.hooks:
                        return between_hooks(original, call, module, args, kwargs)
                    return original(module, *args, **kwargs)
        return otherwise(original, module, args, kwargs, frame)

    wrapper = FunctionType(forward.__code__, original.__globals__, original.__name__, None, forward.__closure__)
    functools.update_wrapper(wrapper, original)
    wrapper.fwdtrace_original = original  # type: ignore[attr-defined]
    return wrapper


def _run_between_hooks(original: Callable[..., Any], call: OpenCall, module: Any, args: Any, kwargs: Any) -> Any:
    call.extra = {"forward_inputs": describe_inputs(args, kwargs)}
    output = original(module, *args, **kwargs)
    call.extra["forward_outputs"] = describe_output(output)
    return output


def _enter_otherwise(
    original: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType
) -> Any:
    stack = stacks.stack
    entry = None if tracing_state() else seen.get(id(module)) or meet(module, stack, observe_forward)
    if entry is None or (GRAPHS_HOLD_MODULES and _is_in_graph(stack)):
        return original(module, *args, **kwargs)
    how = how_entered(module, original, frame)
    open_already = stack[-1] if stack and stack[-1].seen is entry else None
    if how == "same call" or (how == "call" and open_already is not None):
        if open_already is not None and open_already.chain is None:
            open_already.chain = codes_between(frame)
        return original(module, *args, **kwargs)
    call = OpenCall()
    call.seen = entry
    call.entry = "forward" if how == "direct" else "__call__"
    call.error = call.opaque = call.kept_by = call.extra = None
    call.outputs = call.outer = ()
    call.end = 0
    if how == "override" and entry.own_call is not None:
        call.outer, frame = through_override(module, entry.own_call, frame)
    if stack:
        parent = call.parent = stack[-1]
        call.thread = parent.thread
        call.position = position_outside_torch(frame, parent.position)
    else:
        _begin_in_thread(call, stack, frame)
    call.inputs = describe_inputs(args, kwargs)
    own = module.__dict__.get("forward") or type(module).forward
    if how == "direct" and getattr(own, "fwdtrace_original", original) is not original:
        # the forward of a base class, which may name its parameters otherwise
        call.inputs = named_by_parameters(call.inputs, *positional_names(original))
    call.chain = codes_between(frame) if how == "call" else ()
    call.hooks = list_hooks(module)
    log.append(call)  # complete: another thread may end a recording now
    return _run_forward(original, call, stack, module, args, kwargs)


def _run_forward(
    original: Callable[..., Any], call: OpenCall, stack: list[OpenCall], module: Any, args: Any, kwargs: Any
) -> Any:
    depth = len(stack)
    switched = switch(call.seen, not stack) if recordings_of_ops else ""
    try:
        inputs_finite = not recordings_of_values or are_finite(args, kwargs)
        for keeper in keepers:
            keeper.inputs(call, *args, kwargs)
        stack.append(call)
        if recordings_of_gradients:
            forward_begins(call)
        call.begin = perf_counter_ns()
        output = original(module, *args, **kwargs)
        call.end = perf_counter_ns()
        call.outputs = describe_output(output)
        if recordings_of_gradients:
            forward_ends(call, output)
        if recordings_of_values:
            note_values(call, value_options(), inputs_finite, output, module)
        for keeper in keepers:
            keeper.outputs(call, output)
        return output
    except BaseException as error:
        _note_error(call, error)
        raise
    finally:
        del stack[depth:]
        if switched:
            switch_back(switched)


def _is_in_graph(stack: list[OpenCall]) -> bool:
    """Whether the innermost open call is of something compiled."""
    return bool(stack) and (stack[-1].opaque == "compiled" or stack[-1].seen.module_class.__name__ == "OptimizedModule")


def _begin_in_thread(call: OpenCall, stack: list[OpenCall], frame: FrameType) -> None:
    """Fill in what a call gets from its caller when nothing is open in its thread."""
    call.position = position_outside_torch(frame, None)
    if any(each.home is stack for each in recordings):  # this thread works for nobody else's recording
        call.parent = call.thread = None
        return
    call.thread = current_thread().name
    homes = [each.home[:] for each in recordings if each in call.seen.places]
    # A module that is being called there did not start this thread to be called again: that is somebody else's call.
    works_for = (home[-1] for home in homes if home and all(each.seen is not call.seen for each in home))
    call.parent = next(works_for, None)


def _note_error(call: OpenCall, error: BaseException) -> None:
    call.end = perf_counter_ns()
    if type(error).__name__ == STOP_RECOMPUTATION:
        return
    call.error = error_of(error)
    module = call.seen.module()
    if module is not None and not call.error.raised_below:
        call.extra = {**(call.extra or {}), **_state_of(module)}


def _state_of(module: Any) -> dict[str, Any]:
    """The module's own parameters and buffers and its settings, which explain why it could not run."""
    own = {**module._parameters, **module._buffers}
    state = describe_inputs((), {name: tensor for name, tensor in own.items() if tensor is not None})
    try:
        settings = str(module.extra_repr())
    except Exception:  # the user's own method, which must not replace the error it is asked about
        settings = ""
    return {"state": state} | ({"settings": settings} if settings else {})


_FORWARD_CODE = next(
    constant
    for constant in observe_forward.__code__.co_consts
    if isinstance(constant, CodeType) and constant.co_name == "forward"
)
is_ours(observed_call.__code__, "call")
is_ours(_run_forward.__code__, "call")
is_ours(_enter_otherwise.__code__, "boundary")
is_ours(_run_between_hooks.__code__, "boundary")
is_ours(_FORWARD_CODE, "forward")
