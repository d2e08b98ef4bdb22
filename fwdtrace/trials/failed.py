"""The fixes for a call that raised: its arguments are taken out of the traceback, and tried on a copy of the model."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import nn

from fwdtrace.findings.forward_error.rule import failed_call
from fwdtrace.models.spec import Inputs
from fwdtrace.recorder.session import is_watched
from fwdtrace.recorder.torch_internals import CALL_CODE, WRAPPED_CALL_CODE
from fwdtrace.trace import Trace
from fwdtrace.trials.search import with_tried_fixes


def with_fixes_for(trace: Trace, model: nn.Module, error: BaseException) -> Trace:
    """The trace of a model a call of which raised this error, with the fixes that work; as it is if there are none.

    Nothing is tried while somebody watches, who would take the copy for a model of the program, nor where other
    processes would have to take part.
    """
    if is_watched() or (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return trace
    call = failed_call(trace)
    if call is None or call.path is None:
        return trace
    try:
        inputs = _given_to(model.get_submodule(call.path), error)
        return with_tried_fixes(trace, model, inputs) if inputs is not None else trace
    except (Exception, KeyboardInterrupt):  # the error of the program matters more than what we make of it
        return trace


def _given_to(module: nn.Module, error: BaseException) -> Inputs | None:
    """What the module was given in the outermost of its calls in which the error was raised."""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code in (WRAPPED_CALL_CODE, CALL_CODE) and frame.f_locals["self"] is module:
            return Inputs(frame.f_locals["args"], frame.f_locals["kwargs"])
        step = step.tb_next
    return None
