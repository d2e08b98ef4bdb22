"""Traces written by hand that end in an error: the call or op that raised, what ran before it, and what FT006 says."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.findings import find
from fwdtrace.findings.forward_error.changes import proposal_text
from fwdtrace.findings.forward_error.rule import proposals_for
from fwdtrace.trace import Call, CallError, Event, FailedModule, Leaf, Op, Site, Source, TensorMeta, Trace
from tests.helpers.traces import trace

SITE = Site("net.py", 31, "Net.forward", "x = self.f5(x)")
PRODUCT = "mat1 and mat2 shapes cannot be multiplied ({} and {})"


def tensor(
    name: str, *shape: int, dtype: str = "float32", device: str = "cpu", source: Source | int | None = None
) -> TensorMeta:
    """A tensor; a number as its `source` is the id of what made it."""
    made_by = Source(id=source, output=0) if isinstance(source, int) else source
    return TensorMeta(name, shape, dtype, device, source=made_by)


def layer(path: str, class_name: str, *inputs: Leaf, state: tuple[Leaf, ...] = (), settings: str | None = None) -> Call:
    """The call that raises, the tenth of its trace."""
    failed = FailedModule(state, settings)
    return Call(10, 0, 1, path, class_name, 1, "__call__", inputs=inputs, failed_module=failed, site=SITE)


def ran(
    id: int, path: str, class_name: str, given: tuple[int, ...], gave: tuple[int, ...], *, source: int | None = None
) -> Call:
    """A call before it, of one tensor that gave another; `source` is the id of what made that tensor."""
    inputs, outputs = (tensor("input", *given, source=source),), (tensor("", *gave, source=id),)
    return Call(id, 0, 1, path, class_name, 1, "__call__", inputs=inputs, outputs=outputs)


def root(type: str, message: str, *, raised_below: bool) -> Call:
    error = CallError(type, message, raised_below)
    return Call(0, None, 0, "", "Net", 1, "__call__", inputs=(tensor("x", 1, 3, 32, 32),), error=error)


def trace_of(*calls: Call, ops: tuple[Op, ...] | None = None, spec: str | None = None) -> Trace:
    return trace(*calls, ops=ops, spec=spec)


def explained(call: Call, message: str, *before: Call, type: str = "RuntimeError") -> str:
    """What FT006 says when this call raises."""
    failed = replace(call, error=CallError(type, message))
    (finding,) = find(trace_of(root(type, message, raised_below=True), *before, failed))
    assert (finding.code, finding.call, finding.site) == ("FT006", 10, SITE)
    return finding.message


def advised(call: Call, message: str, *before: Call, type: str = "RuntimeError") -> list[str]:
    """What would be tried when this call raises, but for other inputs."""
    failed = replace(call, error=CallError(type, message))
    return texts_of(trace_of(root(type, message, raised_below=True), *before, failed))


def advised_op(name: str, message: str, *inputs: Leaf, before: tuple[Event, ...] = ()) -> list[str]:
    """What would be tried when this op of the root raises, but for other inputs."""
    op = Op(10, 0, name, inputs, site=SITE, error=CallError("RuntimeError", message))
    calls = tuple(event for event in before if isinstance(event, Call))
    ops = tuple(event for event in before if isinstance(event, Op))
    return texts_of(trace_of(root("RuntimeError", message, raised_below=False), *calls, ops=(*ops, op)))


def texts_of(trace: Trace) -> list[str]:
    found = proposals_for(trace, inputs=False)
    return [] if found is None else [proposal_text(proposal) for proposal in found[1]]


def explained_op(
    name: str, message: str, *inputs: Leaf, before: tuple[Call, ...] = (), type: str = "RuntimeError"
) -> str:
    """What FT006 says when this op of the root raises."""
    op = Op(10, 0, name, inputs, site=SITE, error=CallError(type, message))
    (finding,) = find(trace_of(root(type, message, raised_below=False), *before, ops=(op,)))
    assert (finding.code, finding.call, finding.site) == ("FT006", 0, SITE)
    return finding.message


def linear(*shape: int, features: int, out: int = 120, dtype: str = "float32") -> Call:
    state = (tensor("weight", out, features, dtype=dtype), tensor("bias", out, dtype=dtype))
    return layer("f5", "Linear", tensor("input", *shape), state=state, settings=f"in_features={features}, bias=True")


def conv(*shape: int, settings: str = "3, 6, kernel_size=(5, 5), stride=(1, 1)", channels: int = 3) -> Call:
    return layer(
        "c1", "Conv2d", tensor("input", *shape), state=(tensor("weight", 6, channels, 5, 5),), settings=settings
    )
