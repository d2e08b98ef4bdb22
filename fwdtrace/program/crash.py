"""The error that ends a program, explained: what raised it is run once more under observation, and leaves no trace."""

from __future__ import annotations

import contextlib
import operator
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import takewhile
from types import CodeType, FrameType, TracebackType
from typing import Any

import torch
from torch import nn

from fwdtrace.models.randomness import random_state
from fwdtrace.models.spec import Inputs
from fwdtrace.program.moment import Left, Moment
from fwdtrace.program.replay import EXACT, INEXACT, called_at, is_interrupt, recorded, silence
from fwdtrace.program.state import numbers_kept
from fwdtrace.program.statement import Again, function_of
from fwdtrace.program.tracebacks import is_the_programs
from fwdtrace.recorder.frames import from_torch, name_of_code
from fwdtrace.recorder.measures.backward_errors import raised_by_backward
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.recorder.torch_internals import CALL_CODE, WRAPPED_CALL_CODE, is_compiled, wraps_compiled
from fwdtrace.trace import Trace
from fwdtrace.trace.text import path_text
from fwdtrace.trace.values import tensors_in
from fwdtrace.trials.search import with_tried_fixes

Frame = tuple[FrameType, TracebackType]
Top = Callable[[nn.Module], tuple[nn.Module, str | None, int | None]]
"""From a module that was called to the one at the top of what holds it, the variable that holds that, and the number of
the call; None for what is not known."""

_NOT_AGAIN = ("CUDA error", "device-side assert", "HIP error")
"""In the message of an error after which the device does nothing any more."""

_NOT_COMPILED = "it ran without being compiled"


def crash() -> Exception | None:
    """The error that ended the main thread, if it is one that can be explained."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error if isinstance(error, Exception) and _may_run_again(error) else None


def came_from(error: Exception) -> list[Exception]:
    """The error and, one after the other, those in the handling of which it was raised, as far as they can be told."""
    chain: list[Exception] = []
    each: BaseException | None = error
    while isinstance(each, Exception) and all(each is not other for other in chain) and _may_run_again(each):
        chain.append(each)
        each = each.__cause__ or each.__context__
    return chain


def _may_run_again(error: Exception) -> bool:
    """Whether what raised it may be run once more: there is memory, and the device works."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return False
    return not any(text in _message(error) for text in _NOT_AGAIN)


def tells(trace: Trace, error: Exception) -> bool:
    """Whether the trace has the call that raised this error."""
    return any(
        (call.error.type, call.error.message) == (type(error).__name__, _message(error))
        for call in trace.children()
        if call.error is not None
    )


def explained(error: Exception, top: Top, moment: Moment | None = None, left: Left | None = None) -> Trace | None:
    """A trace of the outermost call, or of the op between calls, that raised the error; None if it cannot be run again.

    If it is the call of this moment, it draws the same random numbers again. Otherwise the trace is exact if it draws
    none. `left` says how the call was made that the error has left, if it has left one.
    """
    frames = list(_frames(error.__traceback__))
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    with left.modes.again() if left is not None else contextlib.nullcontext():
        # The other ranks would have to run the call too.
        trace = None if together else _call_again(error, frames, top, moment)
        if trace is not None and left is not None and left.number is not None:  # there may have been later ones
            trace = replace(trace, run=replace(trace.run, call=left.number))
        return trace or _statement_again(error, frames, alone=together)


def _call_again(error: Exception, frames: list[Frame], top: Top, moment: Moment | None) -> Trace | None:
    outer = list(takewhile(lambda each: each[0].f_code not in (WRAPPED_CALL_CODE, CALL_CODE), frames))
    if len(outer) == len(frames):
        return None
    local = frames[len(outer)][0].f_locals
    module, args, kwargs = local["self"], local["args"], local["kwargs"]
    root, name, number = top(module)
    own = moment is not None and moment.module is module and all(map(operator.is_, moment.args, args))
    plain = module._orig_mod if wraps_compiled(type(module)) else module
    compiled = plain is not module or is_compiled(module)
    if compiled:  # what compiled code raises names no layer, and has words of its own for it
        root, module = plain, plain
    with silence(), torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
        trace = _replay(error, root, lambda: module(*args, **kwargs), moment if own else None, eager=compiled)
    if trace is not None:
        trace = replace(trace, model=replace(trace.model, name=name), run=replace(trace.run, call=number))
    positions = [(frame.f_code, step.tb_lasti) for frame, step in outer]
    caller = next((each for each in reversed(positions) if not from_torch(each[0])), None)
    if trace is None:
        return None
    return with_tried_fixes(called_at(trace, caller), root, Inputs(args, kwargs))


def statement_explained(error: Exception, frame: FrameType, instruction: int, line: int) -> Trace | None:
    """A trace of the expression that raised an error of which the program may go on; no fixes are tried.

    Only what computes with what is there is run again: a function of torch's, or a layer of torch's.
    """
    function = function_of(frame, instruction, line, alone=True) if _may_run_again(error) else None
    if function is None:
        return None
    trace = _trace_of_statement(error, function, _statement(frame, function))
    return _without_the_model(trace, _name_of(frame.f_code)) if trace is not None else None


def _statement_again(error: Exception, frames: list[Frame], alone: bool) -> Trace | None:
    place = next((each for each in reversed(frames) if is_the_programs(each[0].f_code)), None)
    function = function_of(place[0], place[1].tb_lasti, place[1].tb_lineno, alone) if place is not None else None
    if place is not None and function is None:
        if alone:
            return _layer_again(error, frames[-1], place)
        return None if raised_by_backward(error) else _op_of_library_again(error, frames, place)
    if place is None or function is None:
        return None
    frame = place[0]
    statement = _statement(frame, function)
    with silence():
        trace = _trace_of_statement(error, function, statement)
    if trace is None:
        return None
    trace = with_tried_fixes(trace, statement, Inputs(function.arguments, {}), is_statement=True)
    return _without_the_model(trace, _name_of(frame.f_code))


def _layer_again(error: Exception, inner: Frame, of_program: Frame) -> Trace | None:
    """The op in a layer of torch's that raised, without the hooks of the layer, which may communicate."""
    frame, step = inner
    layer = frame.f_locals.get("self")
    if not isinstance(layer, nn.Module) or layer._modules or {*map(type, layer.parameters())} - {nn.Parameter}:
        return None
    function = function_of(frame, step.tb_lasti, step.tb_lineno, alone=True)
    if function is None:
        return None
    code, instruction = of_program[0].f_code, of_program[1].tb_lasti
    with silence():
        trace = _trace_of_statement(error, function, _statement(frame, function))
    return _without_the_model(called_at(trace, (code, instruction)), _name_of(frame.f_code)) if trace else None


def _op_of_library_again(error: Exception, frames: list[Frame], of_program: Frame) -> Trace | None:
    """The op that raised in a library that the program runs, as where a DataLoader puts a batch together."""
    of_library = frames[frames.index(of_program) + 1 :]
    line = of_program[0].f_code.co_filename, of_program[1].tb_lineno
    for frame, step in reversed(of_library):
        function = function_of(frame, step.tb_lasti, step.tb_lineno, alone=True, seen_at=line)
        if function is None:
            continue
        with silence():
            trace = _trace_of_statement(error, function, _statement(frame, function))
        if trace is not None:
            called = called_at(trace, (of_program[0].f_code, of_program[1].tb_lasti))
            return _without_the_model(called, _name_of(frame.f_code))
    return None


def _name_of(code: CodeType) -> str:
    return os.path.basename(code.co_filename) if code.co_name == "<module>" else name_of_code(code)


def _statement(frame: FrameType, function: Again) -> nn.Module:
    """A module whose call runs the expression."""
    namespace = {"forward": function.forward, "__module__": frame.f_globals.get("__name__", "")}
    statement: nn.Module = type(_name_of(frame.f_code), (nn.Module,), namespace)()
    return statement


def _trace_of_statement(error: Exception, function: Again, statement: nn.Module) -> Trace | None:
    trace = _replay(error, statement, lambda: statement(*function.arguments))
    if trace is None or not any(tensors_in(event.inputs) for event in trace.events):
        return None
    return called_at(trace, None)


def _replay(
    error: Exception, model: nn.Module, run: Callable[[], Any], moment: Moment | None = None, *, eager: bool = False
) -> Trace | None:
    """The trace of running it again; None if it does not raise the same error, or any where it was compiled before."""
    before = random_state()
    recording = Recording(model, Options(ops=True, alone=True))
    with numbers_kept([*model.parameters(), *model.buffers()]):
        if moment is not None:
            moment.random.restore()
        raised = recorded(recording, run)
    if raised is not None and is_interrupt(raised):
        raise raised
    if raised is not None:
        raised.__traceback__ = None  # which leads back here, and would keep alive what was run
    exact = moment is not None or before.same_as(random_state())
    if not before.same_as(random_state()):
        before.restore()
    if raised is None or not (eager or (type(raised), _message(raised)) == (type(error), _message(error))):
        return None
    trace = recording.trace
    how = EXACT if exact and not eager else INEXACT
    run_info = replace(trace.run, event="error", replay=how, replay_reason=_NOT_COMPILED if eager else None)
    return replace(trace, run=run_info)


def frames_of_program(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """The frames of the program's own code in which this was raised, and the line of each, the outermost first."""
    return ((frame, step.tb_lineno) for frame, step in _frames(error.__traceback__) if is_the_programs(frame.f_code))


def _frames(step: TracebackType | None) -> Iterator[Frame]:
    while step is not None:
        yield step.tb_frame, step
        step = step.tb_next


def _without_the_model(trace: Trace, name: str) -> Trace:
    """The trace with findings that do not speak of a model: what ran was a statement."""
    said = f"{path_text('')} ({name})"
    findings = tuple(
        replace(finding, message=finding.message.replace(said, name))
        for finding in trace.findings
        if finding.code == "FT006"
    )
    return replace(trace, findings=findings)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the exception's own __str__ is broken
        return ""
