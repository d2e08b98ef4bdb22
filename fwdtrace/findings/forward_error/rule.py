"""FT006: the call or op that raised, told of as one who knows it would."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.forward_error.failure import Explanation, Failure, operands
from fwdtrace.findings.words import name_of
from fwdtrace.trace import Call, CallError, Finding, Op, Trace

LONGEST_ERROR = 300


def forward_error(trace: Trace) -> Iterator[Finding]:
    """FT006: the innermost call or op that raised, unless a caller caught the error; the same one is told of once."""
    raised = [(call, call.error) for call in trace.calls if call.parent is None and call.error is not None]
    latest = _latest_below(trace) if raised else {}
    told = set()
    for root, error in raised:
        failure, wrapped_by = _innermost(trace, root, error, latest)
        site = failure.op.site if failure.op else failure.error.site or failure.call.site
        key = failure.call.path, failure.name, site, failure.error
        if key not in told:
            told.add(key)
            yield Finding("FT006", "forward-error", failure.call.id, _message(failure, wrapped_by), site)


def _latest_below(trace: Trace) -> dict[int, Call | Op]:
    """By the id of a call: what ran last directly below it."""
    latest: dict[int, Call | Op] = {}
    events: list[Call | Op] = [*trace.calls, *(trace.ops or ())]
    for event in sorted(events, key=lambda event: event.id):
        if event.parent is not None:
            latest[event.parent] = event
    return latest


def _innermost(trace: Trace, call: Call, error: CallError, latest: dict[int, Call | Op]) -> tuple[Failure, Call | None]:
    """Where the error of `call` came from, and the caller that made another error of it, if one did."""
    wrapped_by = None
    while True:
        # An error that was caught and after which something ran is not what ended the call.
        below = latest.get(call.id)
        if error.raised_below:
            below = next((child for child in reversed(trace.children(call)) if child.error is not None), None)
        if below is None or below.error is None:
            return Failure(trace, call, None, error), wrapped_by
        if (below.error.type, below.error.message) != (error.type, error.message):
            wrapped_by = call
        if isinstance(below, Op):
            return Failure(trace, call, below, below.error), wrapped_by
        call, error = below, below.error


def _message(failure: Failure, wrapped_by: Call | None) -> str:
    if failure.error.type == "KeyboardInterrupt":
        return f"interrupted in {failure.subject}"
    explanation = _explanation(failure)
    parts = [f"{failure.subject} {explanation.says}", operands(failure, explanation.says), explanation.fix]
    if wrapped_by is not None and wrapped_by.error is not None:
        parts.append(f"{name_of(wrapped_by)} then raised {_text(wrapped_by.error)}")
    return "; ".join(part for part in parts if part)


def _explanation(failure: Failure) -> Explanation:
    from fwdtrace.findings.forward_error.explanations import (
        KINDS,  # a run that does not fail need not wait for all the patterns
    )

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
