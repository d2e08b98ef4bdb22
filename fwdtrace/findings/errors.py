"""FT006: the call or op that raised, told of as one who knows it would."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.arguments import ARGUMENTS
from fwdtrace.findings.failure import Explanation, Failure, operands
from fwdtrace.findings.layers import LAYERS
from fwdtrace.findings.products import PRODUCTS
from fwdtrace.findings.sequences import SEQUENCES
from fwdtrace.findings.sizes import SIZES
from fwdtrace.findings.words import name_of
from fwdtrace.trace import Call, CallError, Finding, Op, Site, Trace

# In this order: a tensor of the wrong kind first, since what torch says of it can also read like a wrong shape.
KINDS = (*ARGUMENTS, *LAYERS, *SEQUENCES, *PRODUCTS, *SIZES)

LONGEST_ERROR = 300


def forward_error(trace: Trace) -> Iterator[Finding]:
    """FT006: the innermost call or op that raised, unless a caller caught the error; one finding a place and text."""
    found: dict[tuple[str, Site | None], list[Finding]] = {}
    for root in trace.calls:
        if root.parent is None and root.error is not None:
            failure, wrapped_by = _innermost(trace, root, root.error)
            site = failure.op.site if failure.op else failure.call.site
            message = _message(failure, wrapped_by)
            found.setdefault((message, site), []).append(
                Finding("FT006", "forward-error", failure.call.id, message, site)
            )
    yield from (findings[0] for findings in found.values())


def _innermost(trace: Trace, root: Call, error: CallError) -> tuple[Failure, Call | None]:
    """Where the error came from, and the caller that made another error of it, if one did."""
    call, wrapped_by = root, None
    while True:
        below = _last_that_raised(trace, call)
        if below is None or below.error is None:
            return Failure(trace, call, None, error), wrapped_by
        if (below.error.type, below.error.message) != (error.type, error.message):
            wrapped_by = call
        error = below.error
        if isinstance(below, Op):
            return Failure(trace, call, below, error), wrapped_by
        call = below


def _last_that_raised(trace: Trace, call: Call) -> Call | Op | None:
    """The call or op directly below that the error of `call` came from; None if it came from `call` itself."""
    ops = (op for op in trace.ops or () if op.parent == call.id)
    below: list[Call | Op] = sorted([*trace.children(call), *ops], key=lambda event: event.id)
    if call.error is not None and call.error.raised_below:
        return next((each for each in reversed(below) if isinstance(each, Call) and each.error is not None), None)
    # An error that was caught and after which something ran is not what ended the call.
    return below[-1] if below and below[-1].error is not None else None


def _message(failure: Failure, wrapped_by: Call | None) -> str:
    if failure.error.type == "KeyboardInterrupt":
        return f"interrupted in {failure.subject}"
    explanation = _explanation(failure)
    parts = [f"{failure.subject} {explanation.says}", operands(failure, explanation.says), explanation.fix]
    if wrapped_by is not None and wrapped_by.error is not None:
        parts.append(f"{name_of(wrapped_by)} then raised {_text(wrapped_by.error)}")
    return "; ".join(part for part in parts if part)


def _explanation(failure: Failure) -> Explanation:
    for pattern, explain in KINDS:
        match = pattern.search(failure.error.message)
        explanation = explain(failure, match) if match else None
        if explanation is not None:
            return explanation
    return Explanation(f"raised {_text(failure.error)}")


def _text(error: CallError) -> str:
    """The type and the text of an error in one line."""
    text = " ".join(error.message.split()).rstrip(".")
    text = text if len(text) <= LONGEST_ERROR else text[: LONGEST_ERROR - 1] + "…"
    return f"{error.type}: {text}" if text else error.type
