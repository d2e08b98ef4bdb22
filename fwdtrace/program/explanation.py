"""The error that ended a program, explained by the call that was kept when it raised, or by running it once more."""

from __future__ import annotations

import contextlib
import os

from fwdtrace.program.backward_again import explained_backward
from fwdtrace.program.crash import came_from, crash, explained, frames_of_program, tells
from fwdtrace.program.elsewhere import raised_elsewhere
from fwdtrace.program.traces import ProgramTraces
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.measures.backward_errors import raised_by_backward
from fwdtrace.trace import Trace
from fwdtrace.trials.failed import with_fixes_for


def raised_by_backward_of_program() -> Exception | None:
    """The error that ended the program, if it came out of a backward pass."""
    error = crash()
    return error if error is not None and raised_by_backward(error) else None


def text_from_elsewhere() -> str | None:
    """What raised the error that ended the program, if that was in another process, which had to send it as text."""
    error = crash()
    if error is None:
        return None
    here = [f"{os.path.basename(frame.f_code.co_filename)}:{line}" for frame, line in frames_of_program(error)]
    return raised_elsewhere(error, here[-1] if here else "")


def explanation_of_end(watch: Watch, traces: ProgramTraces, of_backward: bool) -> Trace | None:
    """The call that raised the error that ended the program; None if there was none, or it is not known.

    One that was kept gets the fixes that work, and is saved once more. With `of_backward`, backward raised, and may be
    run again. A program may raise an error of its own in place of the one that it caught.
    """
    error = crash()
    if error is None:
        return None
    chain = came_from(error)
    for cause in chain:
        for trace in traces.by_key.values():
            if tells(trace, cause):
                return _with_fixes(watch, traces, trace, cause)
    with contextlib.suppress(Exception):  # whatever the program's own objects do, it has its own traceback to show
        raised_at = watch.events.raised_at if watch.events is not None else None
        again = (explained(each, watch.top, raised_at, watch.caught.left_by(each)) for each in chain)
        explanation = next((trace for trace in again if trace is not None), None)
        if explanation is not None or not of_backward or any(trace.backward_errors for trace in traces.by_key.values()):
            return explanation
        kept = [(trace, watch.model(root)) for (root, _), trace in traces.by_key.items() if root >= 0]
        return explained_backward(error, [(trace, model) for trace, model in kept if model is not None])
    return None


def _with_fixes(watch: Watch, traces: ProgramTraces, trace: Trace, error: Exception) -> Trace:
    key = traces.key_of(trace)
    model = watch.model(key[0]) if key[0] >= 0 else None
    with_fixes = with_fixes_for(trace, model, error) if model is not None else trace
    if with_fixes is not trace:
        traces.put(key, with_fixes)
    return with_fixes
