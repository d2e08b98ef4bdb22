"""FT006: the call or op that raised, with the reason in the terms of the model in place of torch's message."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwdtrace.findings.forward_error.arguments import ARGUMENTS
from fwdtrace.findings.forward_error.failure import Explanation, Failure, History, operands
from fwdtrace.findings.forward_error.layers import LAYERS
from fwdtrace.findings.forward_error.products import PRODUCTS
from fwdtrace.findings.forward_error.sequences import SEQUENCES
from fwdtrace.findings.forward_error.sizes import SIZES
from fwdtrace.trace import Call, CallError, Finding, Op, Trace
from fwdtrace.trace.text import error_text, name_of

LONGEST_ERROR = 300

# In this order: a tensor of the wrong kind first, since torch's message about it can also read like a wrong shape.
EXPLANATIONS = (*ARGUMENTS, *LAYERS, *SEQUENCES, *PRODUCTS, *SIZES)


def forward_error(trace: Trace) -> Iterator[Finding]:
    """FT006: the innermost call or op that raised, unless a caller caught the error; equal failures are one finding."""
    history = History(trace)
    reported = set()
    for root in trace.children():
        if root.error is None:
            continue
        failure, raised_again_by = _innermost(history, root, root.error)
        site = failure.op.site if failure.op else failure.error.site or failure.call.site
        key = failure.call.path, failure.name, site, failure.error
        if key not in reported:
            reported.add(key)
            yield Finding("FT006", "forward-error", failure.call.id, _message(failure, raised_again_by), site)


def _innermost(history: History, call: Call, error: CallError) -> tuple[Failure, Call | None]:
    """Where the error of `call` came from, and the outer call that raised another error because of it, if one did."""
    raised_again_by = None
    while True:
        below = _raised_below(history.trace, call, error)
        if below is None or below.error is None:
            return Failure(history, call, None, error), raised_again_by
        if (below.error.type, below.error.message) != (error.type, error.message):
            raised_again_by = call
        if isinstance(below, Op):
            return Failure(history, call, below, below.error), raised_again_by
        call, error = below, below.error


def _raised_below(trace: Trace, call: Call, error: CallError) -> Call | Op | None:
    """The call or op directly below this one that its error may have come from."""
    if error.raised_below:
        return next((child for child in reversed(trace.children(call)) if child.error is not None), None)
    # An error after which something else ran was caught, and did not end the call.
    events = trace.made_by(call)
    return events[-1] if events else None


def _message(failure: Failure, raised_again_by: Call | None) -> str:
    if failure.error.type == "KeyboardInterrupt":
        return f"interrupted in {failure.subject}"
    explanation = _explanation(failure)
    parts = [f"{failure.subject} {explanation.says}", operands(failure, explanation.says), explanation.fix]
    if raised_again_by is not None and raised_again_by.error is not None:
        parts.append(f"{name_of(raised_again_by)} then raised {_in_one_line(raised_again_by.error)}")
    return "; ".join(part for part in parts if part)


def _explanation(failure: Failure) -> Explanation:
    for pattern, explain in EXPLANATIONS:
        match = re.search(pattern, failure.error.message)
        explanation = explain(failure, match) if match else None
        if explanation is not None:
            return explanation
    return Explanation(f"raised {_in_one_line(failure.error)}")


def _in_one_line(error: CallError) -> str:
    text = " ".join(error.message.split()).rstrip(".")
    if len(text) > LONGEST_ERROR:
        text = text[: LONGEST_ERROR - 1] + "…"
    return error_text(CallError(error.type, text))
