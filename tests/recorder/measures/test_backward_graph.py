"""Where gradients went wrong, what backward raised, and what had no graph, as they are recorded."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fwdtrace
from fwdtrace.recorder.torch_internals import SAVED_CAN_BE_READ
from fwdtrace.trace import BackwardError, GradientFault, Op, Stats, Trace
from tests.helpers.training import images, layer, net


def recorded(model: nn.Module, *args: Any, ops: bool = True, loss: Any = torch.sum) -> Trace:
    with fwdtrace.record(model, ops=ops, gradients=True) as recording:
        loss(model(*args)).backward()
    return recording.trace


def root_of_zero(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    return torch.sqrt((h - h).sum(-1)) + model.b(x).sum(-1)


@pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")
def test_a_fault_has_its_op_its_step_its_counts_its_parameters_and_its_numbers() -> None:
    trace = recorded(net(root_of_zero, a=layer(), b=layer()), images())
    (fault,) = trace.gradient_faults
    op = next(op for op in trace.ops or () if op.id == fault.event)
    assert op.name == "torch.sqrt"
    assert (fault.kind, fault.node, fault.elements, fault.nan, fault.inf) == ("non-finite", "SqrtBackward0", 3, 0, 3)
    assert fault.parameters == ("a.weight", "a.bias")
    assert [(operand.name, operand.stats) for operand in fault.operands] == [
        ("gradient", Stats(1.0, 0.0, 1.0, 1.0, 0, 0, 0)),
        ("result", Stats(0.0, 0.0, 0.0, 0.0, 3, 0, 0)),
    ]


def test_without_ops_the_call_is_named() -> None:
    trace = recorded(net(root_of_zero, a=layer(), b=layer()), images(), ops=False)
    assert [fault.event for fault in trace.gradient_faults] == [0]


def test_a_gradient_that_is_zero_in_one_pass_and_not_in_the_other_is_no_fault() -> None:
    model = net(lambda model, x, factor: torch.relu(model.a(x) * factor), a=layer())
    with fwdtrace.record(model, ops=True, gradients=True) as recording:
        for factor in (0.0, 1.0):
            model(images(), factor).sum().backward()
    assert recording.trace.gradient_faults == ()


def test_a_fault_of_a_loss_that_is_kept_on_a_module_is_found_too() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        h = model.a(x)
        model.penalty = torch.sqrt((h - h).sum(-1))
        return model.b(x)

    model: Any = net(forward, a=layer(), b=layer())
    with fwdtrace.record(model, ops=True, gradients=True) as recording:
        (model(images()).sum() + model.penalty.sum()).backward()
    (fault,) = recording.trace.gradient_faults
    assert fault.node == "SqrtBackward0"


def test_a_gradient_that_came_to_the_model_like_this_has_no_event() -> None:
    def loss(output: Tensor) -> Tensor:
        return (output - output).sqrt().sum()

    trace = recorded(net(lambda model, x: model.a(x), a=layer()), images(), loss=loss)
    assert trace.gradient_faults == (GradientFault("non-finite", 0, parameters=("a.weight", "a.bias")),)


def test_gradients_that_are_fine_have_no_fault() -> None:
    assert recorded(net(lambda model, x: model.a(x), a=layer()), images()).gradient_faults == ()


def test_faults_are_not_looked_for_unless_gradients_are_asked_for() -> None:
    model = net(root_of_zero, a=layer(), b=layer())
    with fwdtrace.record(model, ops=True, check_finite=True) as recording:
        model(images()).sum().backward()
    assert recording.trace.gradient_faults == ()


class Reads(nn.Module):
    """A model that takes a number out of its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.a = layer()

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        self.mean = h.mean().item()
        self.shape = h.sum().detach().item()
        return h


def names(trace: Trace) -> list[str]:
    return [op.name for op in trace.ops or ()]


def test_a_number_taken_out_of_a_graph_is_an_op_for_who_asked_for_gradients_alone() -> None:
    model = Reads()
    plain = fwdtrace.record(model, ops=True)
    with fwdtrace.record(model, ops=True, gradients=True) as asked, plain:
        model(images())
    rest = ["Tensor.mean", "Tensor.sum", "Tensor.detach"]
    assert names(asked.trace) == [rest[0], "Tensor.item", *rest[1:]]
    assert names(plain.trace) == rest


def without_grad(trace: Trace) -> dict[str, str]:
    found = {(event.name if isinstance(event, Op) else event.path or ""): event.without_grad for event in trace.events}
    return {name: why for name, why in found.items() if why is not None}


def test_what_has_no_graph_says_why() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        with torch.no_grad():
            h = model.a(x)
        with torch.inference_mode():
            model.b(x)
        return model.out(checkpoint(model.inner, h, use_reentrant=True))

    model = net(forward, a=layer(), b=layer(), inner=nn.Sequential(layer()), out=layer())
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad"):
        trace = recorded(model, images())
    reasons = {"a": "no_grad", "b": "inference_mode", "inner": "checkpoint", "inner.0": "checkpoint"}
    assert without_grad(trace) == reasons


def test_a_decorator_that_turns_gradients_off_is_no_checkpoint() -> None:
    class Quiet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer()

        @torch.no_grad()
        def forward(self, x: Tensor) -> Any:
            return self.layer(x)

    model = net(lambda model, x: model.out(model.quiet(x)), quiet=Quiet(), out=layer())
    assert without_grad(recorded(model, images())) == {"quiet.layer": "no_grad"}


def sigmoid_and_write(model: Any, x: Tensor) -> Tensor:
    gate = torch.sigmoid(model.a(x))
    gate += 1
    return gate


@pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")
def test_an_error_has_its_op_its_step_and_who_wrote() -> None:
    model = net(sigmoid_and_write, a=layer())
    recording = fwdtrace.record(model, ops=True, gradients=True)
    with pytest.raises(RuntimeError, match="inplace") as raised, recording:
        model(images()).sum().backward()
    ids = {op.name: op.id for op in recording.trace.ops or ()}
    assert recording.trace.backward_errors == (
        BackwardError(
            "RuntimeError",
            str(raised.value),
            ids["torch.sigmoid"],
            "SigmoidBackward0",
            "result",
            writers=(ids["+="],),
        ),
    )
    assert recording.trace.gradient_faults == ()


@pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")
def test_each_error_that_a_program_catches_is_kept() -> None:
    model = net(sigmoid_and_write, a=layer())
    with fwdtrace.record(model, ops=True, gradients=True) as recording:
        for _ in range(2):
            with contextlib.suppress(RuntimeError):
                model(images()).sum().backward()
        model.a(images()).sum().backward()  # type: ignore[operator, union-attr]
    errors = recording.trace.backward_errors
    assert [(error.type, error.node) for error in errors] == [(None, "SigmoidBackward0")] * 2
    assert all("modified by an inplace operation" in error.message for error in errors)


def test_a_failed_backward_keeps_nothing_alive_when_the_block_has_ended() -> None:
    model = net(sigmoid_and_write, a=layer())
    with fwdtrace.record(model, ops=True, gradients=True) as recording:
        output = model(images())
        with contextlib.suppress(RuntimeError):
            output.sum().backward()
        alive = weakref.ref(output)
        del output
    gc.collect()
    assert alive() is None and len(recording.trace.backward_errors) == 1


def test_backward_goes_on_as_without_us_after_an_error() -> None:
    model = net(sigmoid_and_write, a=layer())
    with fwdtrace.record(model, gradients=True), contextlib.suppress(RuntimeError):
        model(images()).sum().backward()
    model.a(images()).sum().backward()  # type: ignore[operator, union-attr]
    expected = images().sum(0).expand(4, -1)
    assert torch.equal(model.a.weight.grad, expected)  # type: ignore[arg-type, union-attr]
