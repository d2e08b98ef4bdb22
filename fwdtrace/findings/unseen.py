"""FT007 and FT010: calls that could not be observed, and modules that ran without being registered in the model."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.places import by_place, repeated
from fwdtrace.trace import Finding, Trace
from fwdtrace.trace.text import listed, name_of

_WHY_OPAQUE = {
    "compiled": "ran compiled: the calls inside it are not shown; TORCHDYNAMO_DISABLE=1 makes it run eagerly",
    "script": "is TorchScript: the calls inside it run in C++ and are not shown",
}
_CAN_FUSE = "TransformerEncoderLayer"
"""The only class of torch that computes itself either in one fused kernel or by calling its submodules."""


def not_observed(trace: Trace) -> Iterator[Finding]:
    """FT007: a call that ran outside Python, so that the calls inside it could not be seen."""
    for calls in by_place(call for call in trace.calls if call.opaque is not None):
        first = calls[0]
        why = _WHY_OPAQUE.get(first.opaque or "", "could not be seen into: the calls inside it are not shown")
        message = f"{name_of(first)} ({first.class_name}) {why}"
        yield Finding("FT007", "not-observed", first.id, message, first.site)


def fused_path(trace: Trace) -> Iterator[Finding]:
    """FT007: layers that torch computed in one kernel instead of calling their submodules; one finding for all."""
    fused = [
        call
        for call in trace.calls
        if call.class_name == _CAN_FUSE and not (call.error or call.opaque or trace.children(call))
    ]
    if fused:
        names = listed(list(dict.fromkeys(map(name_of, fused))))
        message = (
            f"{names} ({_CAN_FUSE}) ran its fused path: one kernel computed it, no module inside it was called;"
            " --no-fused, or torch.backends.mha.set_fastpath_enabled(False), runs them"
        )
        yield Finding("FT007", "not-observed", fused[0].id, message, fused[0].site)


def unregistered_module(trace: Trace) -> Iterator[Finding]:
    """FT010: a module with parameters ran that is not registered in the model; the outermost one if they are nested."""
    for calls in by_place(call for call in trace.calls if call.path is None and call.parameters):
        first = calls[0]
        caller = trace.caller(first)
        if caller is not None and caller.path is None:
            continue
        modules = [call for call in calls if call.nth == 1]
        if len(modules) > 1:
            parameters = sum(call.parameters or 0 for call in modules)
            who = f"{len(modules)} modules of {first.class_name} with {parameters:,} parameters in all ran"
            what = "are not registered: no optimizer, state_dict or .to() will see them; put them"
        else:
            who = f"a {first.class_name} with {first.parameters:,} parameters ran{repeated(calls)}"
            what = (
                "is not registered: no optimizer, state_dict or .to() will see it; assign it to an attribute or put it"
            )
        message = f"{who} but {what} into an nn.ModuleList"
        yield Finding("FT010", "unregistered-module", first.id, message, first.site)
