"""FT002 for models that were called without their wrapper, on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import Call, CallError, TensorMeta, Trace
from tests.helpers.traces import call, trace

DDP = "torch.nn.parallel.distributed.DistributedDataParallel"
FSDP = "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel"
INSIDE = call(0, None, "module", "Net", outputs=(TensorMeta("", (1, 16), "float32", requires_grad=True),))


def wrapped(wrapper: str, *calls: Call) -> Trace:
    whole = trace(*calls)
    return replace(whole, model=replace(whole.model, class_name=wrapper))


def test_a_call_past_ddp_says_that_gradients_are_not_synchronised() -> None:
    (finding,) = find(wrapped(DDP, INSIDE, replace(INSIDE, id=1, nth=2)))
    assert (finding.code, finding.call) == ("FT002", 0)
    assert finding.message == (
        "module was called past DistributedDataParallel: the gradients of this call are not synchronised between"
        " ranks; call the wrapper itself, and let forward choose what else there is to do"
    )


def test_a_call_past_fsdp_says_that_parameters_were_not_gathered() -> None:
    (finding,) = find(wrapped(FSDP, replace(INSIDE, path="_fsdp_wrapped_module.layer")))
    assert finding.message.startswith(
        "_fsdp_wrapped_module.layer was called past FullyShardedDataParallel: its parameters were not gathered first;"
    )


@pytest.mark.parametrize(
    "call_",
    [
        replace(INSIDE, path=""),
        replace(INSIDE, thread="worker"),
        replace(INSIDE, outputs=()),
        replace(INSIDE, path="modules"),
    ],
)
def test_other_calls_of_a_wrapped_model_are_no_finding(call_: Call) -> None:
    assert find(wrapped(DDP, call_)) == ()


def test_a_failing_call_past_fsdp_has_this_as_its_reason() -> None:
    failed = replace(INSIDE, path="layer", error=CallError("RuntimeError", "no"), outputs=())
    assert [finding.code for finding in find(wrapped(FSDP, failed))] == ["FT002", "FT006"]
