"""FT002 for a model that was called without its wrapper: no parameters are gathered, no gradients synchronised."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.places import by_place
from fwdtrace.trace import Call, Finding, Trace
from fwdtrace.trace.values import tensors_in

_DDP = "torch.nn.parallel.distributed.DistributedDataParallel"
_FSDP = "torch.distributed.fsdp."


def bypassed_wrapper(trace: Trace) -> Iterator[Finding]:
    """FT002: a module inside DistributedDataParallel or FSDP was called from outside, not by the wrapper."""
    wrapper = trace.model.class_name
    short = wrapper.rpartition(".")[2]
    for calls in by_place(call for call in trace.children() if call.path and call.thread is None):
        first = calls[0]
        if wrapper == _DDP and _within(first, "module") and _trains(first):
            message = (
                f"{first.path} was called past {short}: the gradients of this call are not synchronised between ranks; "
                f"call the wrapper itself, and let forward choose what else there is to do"
            )
        elif wrapper.startswith(_FSDP) and (_within(first, "_fsdp_wrapped_module") or first.error is not None):
            message = (
                f"{first.path} was called past {short}: its parameters were not gathered first; call the model itself, "
                f"or name the method with torch.distributed.fsdp.register_fsdp_forward_method"
            )
        else:
            continue
        yield Finding("FT002", "stale-or-skipped", first.id, message, first.site)


def _within(call: Call, name: str) -> bool:
    return call.path == name or (call.path or "").startswith(f"{name}.")


def _trains(call: Call) -> bool:
    """Whether backward can run from the outputs; under no_grad there is nothing to synchronise."""
    return any(tensor.requires_grad for tensor in tensors_in(call.outputs))
