"""Backward under observation: gradients bit for bit as without it, and its order and time by call."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.checkpoint import checkpoint

import fwdtrace
from fwdtrace.models.zoo.lenet import LeNet
from fwdtrace.recorder.measures import gradients
from fwdtrace.run.backward import run_backward
from fwdtrace.trace import Gradient, Trace
from tests.helpers.models import Chain
from tests.helpers.real_models import MODELS
from tests.oracle.agreement import Workload, built, differences_in_results, run

X = torch.ones(2, 4)


def recorded_with_backward(model: nn.Module, *args: Any, loss: Any = None) -> Trace:
    with fwdtrace.record(model, gradients=True) as recording:
        run_backward(model, model(*args), loss)
    return recording.trace


def order(trace: Trace) -> list[str | None]:
    """The paths of the calls as their backward began."""
    begun = [call for call in trace.calls if call.backward is not None]
    return [call.path for call in sorted(begun, key=lambda call: call.backward.order if call.backward else 0)]


def node_names(tensor: Tensor) -> list[str]:
    names, pending = [], [tensor.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None:
            names.append(node.name())
            pending.extend(before for before, _ in node.next_functions)
    return names


def lenet() -> Workload:
    return LeNet(), (torch.rand(1, 3, 32, 32),), {}


REAL = ("torchvision:resnet18", "torchvision:VisionTransformer", "transformers:LlamaForCausalLM")


@pytest.mark.parametrize("build", [lenet, *(MODELS[name] for name in REAL)], ids=["lenet", *REAL])
def test_gradients_are_bit_for_bit_as_without_a_recording(build: Callable[[], Workload]) -> None:
    expected = run(built(build), training=True)
    workload = built(build)
    with fwdtrace.record(workload[0], gradients=True) as recording:
        got = run(workload, training=True)
    assert differences_in_results(expected, got) == []
    root = recording.trace.calls[0]
    assert root.backward is not None and root.backward.order == 0


def test_the_graph_has_the_nodes_that_it_has_without_a_recording() -> None:
    model = LeNet()
    x = torch.rand(1, 3, 32, 32)
    expected = node_names(model(x))
    with fwdtrace.record(model, gradients=True):
        assert node_names(model(x)) == expected


def test_backward_runs_from_the_last_call_to_the_first_and_a_module_around_begins_with_its_last() -> None:
    trace = recorded_with_backward(LeNet(), torch.rand(1, 3, 32, 32))
    assert order(trace) == ["", "f7", "f6", "f5", "flatten", "s2", "sig", "c3", "s2", "sig", "c1"]


def test_the_time_of_a_call_has_that_of_its_submodules_in_it() -> None:
    trace = recorded_with_backward(nn.Sequential(Chain(), nn.Linear(3, 3)), X)
    times = {call.path: call.backward.duration_us for call in trace.calls if call.backward is not None}
    assert all(time > 0 for time in times.values())
    assert times["0"] == pytest.approx(times["0.first"] + times["0.second"])
    assert times[""] == pytest.approx(times["0"] + times["1"])


clock = [0]
"""What time it is, in nanoseconds, for a test in which nothing takes any but one function."""


class Sleeps(torch.autograd.Function):
    """A function whose backward takes five milliseconds of that clock."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        clock[0] += 5_000_000
        return gradient


class Slow(nn.Module):
    """A module of one function, slow in backward."""

    def forward(self, x: Tensor) -> Any:
        return Sleeps.apply(x)


def test_time_is_told_of_the_call_that_took_it_though_a_branch_goes_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.slow, self.last = nn.Linear(4, 4), Slow(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            x = self.first(x)
            return x + self.last(self.slow(x))

    monkeypatch.setattr(gradients, "perf_counter_ns", lambda: clock[0])
    times = {
        call.path: call.backward.duration_us for call in recorded_with_backward(Residual(), X).calls if call.backward
    }
    assert {path: time for path, time in times.items() if path} == {"first": 0, "slow": 5000, "last": 0}


def test_what_runs_without_a_gradient_has_no_backward() -> None:
    class Half(Chain):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.first(x)
            return self.second(x)

    assert order(recorded_with_backward(Half(), X)) == ["", "second"]


def test_a_call_whose_result_is_thrown_away_has_no_backward() -> None:
    class Idle(Chain):
        def forward(self, x: Tensor) -> Tensor:
            self.second(x)
            return self.first(x)

    assert order(recorded_with_backward(Idle(), X)) == ["", "first"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_backward_through_a_checkpoint_is_told_of_the_call_that_computes(reentrant: bool) -> None:
    class Checkpointed(Chain):
        def forward(self, x: Tensor) -> Any:
            return self.second(checkpoint(self.first, x, use_reentrant=reentrant))

    model = Checkpointed()
    trace = recorded_with_backward(model, X.clone().requires_grad_())
    assert all(gradient.norm for gradient in trace.gradients or ())
    again = trace.at("first")[1]  # non-reentrant, its graph only keeps what the first one forgot
    assert (again.backward is not None) is reentrant


def test_two_steps_are_told_apart() -> None:
    model = Chain()
    with fwdtrace.record(model, gradients=True) as recording:
        for _ in range(2):
            model(X).sum().backward()
    assert order(recording.trace) == ["", "second", "first"] * 2


def test_a_state_carried_from_step_to_step_is_followed_to_where_it_was_made() -> None:
    cell = nn.GRUCell(4, 4)
    with fwdtrace.record(cell, gradients=True) as recording:
        state = cell(X, cell(X))
        state.sum().backward()
    assert [call.backward.order for call in recording.trace.calls if call.backward] == [1, 0]


def test_a_second_backward_of_a_graph_adds_to_the_first() -> None:
    model = Chain()
    with fwdtrace.record(model, gradients=True) as recording:
        loss = model(X).sum()
        loss.backward(retain_graph=True)
        first = recording.trace.calls[0].backward
        loss.backward()
    last = recording.trace.calls[0].backward
    assert first is not None and last is not None and last.duration_us > first.duration_us


def test_gradients_of_gradients_are_as_without_a_recording() -> None:
    def second_order() -> Tensor:
        torch.manual_seed(0)
        model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)), X.clone().requires_grad_()
        with fwdtrace.record(model, gradients=observed):
            (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
            gradient.pow(2).sum().backward()
        assert model[0].weight.grad is not None
        return model[0].weight.grad

    observed = False
    expected = second_order()
    observed = True
    assert torch.equal(second_order(), expected)


def test_functional_gradients_of_a_recorded_model_are_as_without() -> None:
    model = Chain()
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, parameters, (X,)).sum()

    expected = torch.func.grad(loss)(parameters)
    with fwdtrace.record(model, gradients=True):
        got = torch.func.grad(loss)(parameters)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_the_hooks_are_gone_when_the_block_ends() -> None:
    model = Chain()
    with fwdtrace.record(model, gradients=True) as recording:
        output = model(X)
    output.sum().backward()
    assert all(call.backward is None for call in recording.trace.calls)


def test_no_tensor_is_kept_alive() -> None:
    model = Chain()
    with fwdtrace.record(model, gradients=True) as recording:
        output = model(X)
        saved = weakref.ref(output)
        assert isinstance(output.grad_fn, Node)
        del output
        gc.collect()
        assert saved() is None
    assert len(recording.trace.calls) == 3


def test_a_gradient_has_its_norm_and_its_name() -> None:
    model = nn.Linear(4, 1, bias=False)
    assert recorded_with_backward(model, X).gradients == (Gradient("weight", (1, 4), True, 4.0),)


def test_a_gradient_counts_what_is_not_finite_and_measures_the_rest() -> None:
    model = nn.Linear(4, 1, bias=False)

    def loss(output: Tensor) -> Tensor:
        return (output * torch.tensor([[0.0], [1.0]])).sum()

    x = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 4.0, float("inf"), float("nan")]])
    (gradient,) = recorded_with_backward(model, x, loss=loss).gradients or ()
    assert (gradient.norm, gradient.nan, gradient.inf) == (5.0, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_norm_does_not_overflow(dtype: torch.dtype) -> None:
    model = nn.Linear(4, 1, bias=False, dtype=dtype)
    (gradient,) = recorded_with_backward(model, torch.full((1, 4), 2.0**100, dtype=dtype)).gradients or ()
    assert gradient.norm == 2.0**101


def test_a_sparse_gradient_and_a_complex_one_have_norms() -> None:
    embedding = nn.Embedding(5, 4, sparse=True)
    (gradient,) = recorded_with_backward(embedding, torch.tensor([1, 1])).gradients or ()
    assert gradient.norm == 4.0
    linear = nn.Linear(2, 1, bias=False, dtype=torch.complex64)
    (gradient,) = recorded_with_backward(linear, torch.tensor([[3 + 0j, 0 + 4j]])).gradients or ()
    assert gradient.norm == pytest.approx(5.0)


def test_frozen_and_unused_parameters_have_no_norm() -> None:
    model = Chain()
    model.first.requires_grad_(False)
    trace = recorded_with_backward(model, X)
    norms = {gradient.name: (gradient.requires_grad, gradient.norm is None) for gradient in trace.gradients or ()}
    assert norms["first.weight"] == (False, True) and norms["second.weight"] == (True, False)


def test_a_parameter_on_the_meta_device_is_left_out() -> None:
    trace = recorded_with_backward(nn.Linear(4, 1, device="meta"), X.to("meta"))
    assert trace.gradients == ()


def test_gradients_and_backwards_are_there_only_if_asked_for() -> None:
    model = Chain()
    with fwdtrace.record(model) as recording:
        run_backward(model, model(X))
    assert recording.trace.gradients is None
    assert all(call.backward is None for call in recording.trace.calls)
