"""FT007 and FT010: what ran and could not be seen, and what ran and is not in the tree."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.words import by_place, listed, name_of, times
from fwdtrace.trace import Call, Finding, Trace


def not_observed(trace: Trace) -> Iterator[Finding]:
    """FT007: what ran but could not be seen."""
    reasons = {
        "compiled": "ran compiled: the calls inside it are not shown; TORCHDYNAMO_DISABLE=1 makes it run eagerly",
        "script": "is TorchScript: the calls inside it run in C++ and are not shown",
    }
    other = "could not be seen into: the calls inside it are not shown"
    for calls in by_place(call for call in trace.calls if call.opaque is not None):
        first = calls[0]
        message = f"{name_of(first)} ({first.class_name}) {reasons.get(first.opaque or '', other)}"
        yield Finding("FT007", "not-observed", first.id, message, first.site)


def fused_path(trace: Trace) -> Iterator[Finding]:
    """FT007: layers that torch computed in one kernel in place of the modules in them; all are one finding."""
    fused = [call for call in trace.calls if call.class_name == _CAN_FUSE and _has_no_calls(trace, call)]
    if fused:
        names = listed(list(dict.fromkeys(map(name_of, fused))))
        message = (
            f"{names} ({_CAN_FUSE}) ran its fused path: one kernel computed it, no module inside it was called;"
            " --no-fused, or torch.backends.mha.set_fastpath_enabled(False), runs them"
        )
        yield Finding("FT007", "not-observed", fused[0].id, message, fused[0].site)


_CAN_FUSE = "TransformerEncoderLayer"
"""The one class of torch that may compute itself without its children, which it calls otherwise."""


def _has_no_calls(trace: Trace, call: Call) -> bool:
    return not (trace.children(call) or call.error or call.opaque)


def unregistered_module(trace: Trace) -> Iterator[Finding]:
    """FT010: a module with parameters ran that no registered module holds."""
    for calls in by_place(call for call in trace.calls if call.path is None and call.parameters):
        first = calls[0]
        if _called_from_outside(trace, first):
            continue
        message = (
            f"a {first.class_name} with {first.parameters:,} parameters ran{times(calls)} but is not registered:"
            " no optimizer, state_dict or .to() will see it; assign it to an attribute or put it into an nn.ModuleList"
        )
        yield Finding("FT010", "unregistered-module", first.id, message, first.site)


def _called_from_outside(trace: Trace, call: Call) -> bool:
    """Whether the caller is itself outside the tree, so that the finding belongs there."""
    return call.parent is not None and trace.call(call.parent).path is None
