"""FT002 for a model that was called past the wrapper around it: nothing is gathered and nothing is synchronised."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.trace import Call, Finding, TensorMeta, Trace

_DDP = "torch.nn.parallel.distributed.DistributedDataParallel"
_FSDP = "torch.distributed.fsdp."


def bypassed_wrapper(trace: Trace) -> Iterator[Finding]:
    """FT002: what DistributedDataParallel or FSDP wraps was called from outside, not by the wrapper."""
    wrapper = trace.model.class_name
    short = wrapper.rpartition(".")[2]
    told: set[tuple[str | None, object]] = set()
    for call in trace.children():
        if not call.path or call.thread is not None or (call.path, call.site) in told:
            continue
        told.add((call.path, call.site))
        if wrapper == _DDP and _within(call, "module") and _trains(call):
            message = (
                f"{call.path} was called past {short}: the gradients of this call are not synchronised between ranks; "
                f"call the wrapper itself, and let forward choose what else there is to do"
            )
        elif wrapper.startswith(_FSDP) and (_within(call, "_fsdp_wrapped_module") or call.error is not None):
            message = (
                f"{call.path} was called past {short}: its parameters were not gathered first; call the model itself, "
                f"or name the method with torch.distributed.fsdp.register_fsdp_forward_method"
            )
        else:
            continue
        yield Finding("FT002", "stale-or-skipped", call.id, message, call.site)


def _within(call: Call, name: str) -> bool:
    return call.path == name or (call.path or "").startswith(f"{name}.")


def _trains(call: Call) -> bool:
    """Whether a backward can come from what the call gave; under no_grad there is nothing to synchronise."""
    return any(isinstance(leaf, TensorMeta) and leaf.requires_grad for leaf in call.outputs)
