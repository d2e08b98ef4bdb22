"""The calls of modules in which an exception was raised, with their arguments, out of its traceback."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from torch import nn

from fwdtrace.models.spec import Inputs
from fwdtrace.recorder.torch_internals import CALL_CODE, WRAPPED_CALL_CODE


def calls_in(error: BaseException) -> Iterator[tuple[nn.Module, Inputs]]:
    """The modules that were called and what they were given, the outermost first."""
    step: TracebackType | None = error.__traceback__
    wrapped = None
    while step is not None:
        frame = step.tb_frame
        if frame.f_code is WRAPPED_CALL_CODE or (frame.f_code is CALL_CODE and frame.f_locals["self"] is not wrapped):
            yield frame.f_locals["self"], Inputs(frame.f_locals["args"], frame.f_locals["kwargs"])
        wrapped = frame.f_locals["self"] if frame.f_code is WRAPPED_CALL_CODE else None
        step = step.tb_next
