"""FT006: the call that raised, told of as one who knows the layer would."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.words import name_of
from fwdtrace.trace import Finding, Trace


def forward_error(trace: Trace) -> Iterator[Finding]:
    """FT006: the innermost call that raised, unless a caller caught the error."""
    ended = [call for call in trace.calls if call.parent is None and call.error is not None]
    for root in ended:
        call = root
        while call.error is not None and call.error.raised_below:
            below = [child for child in trace.children(call) if child.error is not None]
            if not below:
                break
            call = below[-1]
        if call.error is not None:
            message = f"{name_of(call)} ({call.class_name}) raised {call.error.type}: {call.error.message}"
            yield Finding("FT006", "forward-error", call.id, message, call.site)
