"""The fixes for a call that raised: its arguments are taken out of the traceback, and tried on a copy of the model."""

from __future__ import annotations

import torch
from torch import nn

from fwdtrace.findings.forward_error.rule import failed_call
from fwdtrace.recorder.session import is_watched
from fwdtrace.trace import Trace
from fwdtrace.trials.calls_in import calls_in
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
        module = model.get_submodule(call.path)
        inputs = next((inputs for called, inputs in calls_in(error) if called is module), None)
        return with_tried_fixes(trace, model, inputs) if inputs is not None else trace
    except (Exception, KeyboardInterrupt):  # the error of the program matters more than what we make of it
        return trace
