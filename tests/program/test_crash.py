"""An error that ends a program is explained by running again what raised it, and nothing of the program changes."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fwdtrace.program.caught import CaughtErrors
from fwdtrace.program.crash import crash, explained, tells
from fwdtrace.trace import Trace
from tests.program.test_events import told, watched


class Net(nn.Module):
    """Has a state of each kind, and methods that are no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first, self.last = nn.BatchNorm1d(4), nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        print("forward runs")
        return self.last(self.first(self.norm(x)))

    def encode(self, x: Tensor, noise: Tensor) -> Tensor:
        hidden = self.first(x)
        return hidden + hidden * noise

    def wrong(self, x: Tensor) -> Tensor:
        return self.last(x)


def error_of(run: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception, match=r".") as raised:
        run()
    error = raised.value
    assert isinstance(error, Exception)
    return error


def trace_of(run: Callable[[], Any]) -> Trace | None:
    return explained(error_of(run), lambda module: (module, None, None))


def findings(trace: Trace | None) -> list[tuple[str, str]]:
    assert trace is not None
    return [(finding.message, finding.site.code if finding.site else "") for finding in trace.findings]


def test_the_call_that_raised_is_recorded_with_the_line_that_made_it() -> None:
    net = Net()
    trace = trace_of(lambda: net(torch.ones(5, 7)))
    assert trace is not None
    assert [(call.path, call.error is not None) for call in trace.calls] == [("", True), ("norm", True)]
    site = trace.calls[0].site
    assert site is not None and site.code == "trace = trace_of(lambda: net(torch.ones(5, 7)))"
    assert (trace.run.event, trace.run.replay) == ("error", "exact")


def test_what_runs_again_prints_nothing_and_changes_neither_buffers_nor_random_numbers(
    capfd: pytest.CaptureFixture[str],
) -> None:
    net = Net()
    net.last = nn.Linear(9, 9)
    error = error_of(lambda: net(torch.ones(5, 4)))
    buffers = [buffer.clone() for buffer in net.buffers()]
    state = torch.get_rng_state()
    capfd.readouterr()
    assert explained(error, lambda module: (module, None, None)) is not None
    assert capfd.readouterr() == ("", "")
    assert all(map(torch.equal, buffers, net.buffers()))
    assert torch.equal(state, torch.get_rng_state())


def test_a_loss_is_explained_like_a_model() -> None:
    trace = trace_of(lambda: nn.CrossEntropyLoss()(torch.ones(2, 5, 4, 4), torch.ones(2, 1, 4, 4).long()))
    assert trace is not None
    assert [leaf.name for leaf in trace.calls[0].inputs] == ["input", "target"]
    assert "2×1×4×4" in findings(trace)[0][0]


def test_an_op_in_a_method_is_explained_with_its_line() -> None:
    net = Net()
    trace = trace_of(lambda: net.encode(torch.ones(5, 4), torch.ones(6, 7)))
    ((message, line),) = findings(trace)
    assert message.startswith("* in Net.encode cannot broadcast")
    assert "5×3" in message and "6×7" in message
    assert line == "return hidden + hidden * noise"


def test_a_layer_called_in_a_method_is_explained_as_a_call() -> None:
    net = Net()
    trace = trace_of(lambda: net.wrong(torch.ones(5, 4)))
    assert trace is not None
    assert trace.calls[0].class_name == "Linear"
    assert findings(trace)[0][1] == "return self.last(x)"


def test_an_op_of_a_library_is_explained_with_the_line_of_the_program() -> None:
    data: Any = [torch.ones(3), torch.ones(4)]
    trace = trace_of(lambda: list(DataLoader(data, batch_size=2)))
    ((message, line),) = findings(trace)
    assert message.startswith("torch.stack in collate_tensor_fn needs tensors of one shape, got 3 and 4")
    assert line == "trace = trace_of(lambda: list(DataLoader(data, batch_size=2)))"


def test_the_engine_of_backward_is_not_run_again() -> None:
    loss = torch.ones(2, requires_grad=True).exp().sum()
    loss.backward()
    assert explained(error_of(lambda: loss.backward()), lambda module: (module, None, None)) is None


def test_a_call_that_an_error_has_left_is_made_again_in_its_modes_and_keeps_its_number() -> None:
    net = Net()
    caught = CaughtErrors(lambda module: (net, "net", 3), lambda: None)

    def call() -> None:
        with torch.no_grad():
            try:
                net(torch.ones(5, 7))
            except RuntimeError as error:
                caught.raised(net, error)
                raise

    error = error_of(call)
    trace = explained(error, lambda module: (net, "net", 4), left=caught.left_by(error))
    assert trace is not None and (trace.run.grad, trace.run.call) == (False, 3)
    assert torch.is_grad_enabled() and caught.left_by(ValueError()) is None


def fit(x: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.mse_loss(x @ y, y)


def add_in_place(x: Tensor, y: Tensor) -> None:
    x += y


@pytest.mark.parametrize(
    ("function", "line"), [(fit, "return torch.nn.functional.mse_loss(x @ y, y)"), (add_in_place, "x += y")]
)
def test_an_op_of_a_script_is_explained_with_its_line(function: Callable[..., Any], line: str) -> None:
    x = torch.ones(2, 3)
    assert findings(trace_of(lambda: function(x, torch.ones(2, 4))))[0][1] == line
    assert torch.equal(x, torch.ones(2, 3))


class Counts:
    """Does something each time that it is asked."""

    asked = 0

    def tensor(self) -> Tensor:
        Counts.asked += 1
        return torch.ones(2)


def with_effect(counts: Counts) -> Tensor:
    return counts.tensor() + torch.ones(3)


@pytest.mark.parametrize(
    "run",
    [
        lambda: with_effect(Counts()),
        lambda: operator.getitem([], 1),
        lambda: torch.optim.SGD([], lr=0.1),
        lambda: torch.ones(2, requires_grad=True).backward(),
    ],
)
def test_what_may_do_more_than_compute_is_not_run_again(run: Callable[[], Any]) -> None:
    error = error_of(run)
    asked = Counts.asked
    assert explained(error, lambda module: (module, None, None)) is None
    assert Counts.asked == asked


def test_another_error_the_second_time_explains_nothing() -> None:
    class Once(nn.Module):
        times = 0

        def forward(self, x: Tensor) -> Tensor:
            Once.times += 1
            raise ValueError(Once.times)

    assert trace_of(lambda: Once()(torch.ones(1))) is None
    assert Once.times == 2


def test_an_error_that_a_trace_has_is_known_by_it() -> None:
    net = Net()
    error = error_of(lambda: net(torch.ones(5, 7)))
    trace = explained(error, lambda module: (module, None, None))
    assert trace is not None
    assert tells(trace, error) and not tells(trace, ValueError("another"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("x"), True),
        (torch.OutOfMemoryError("x"), False),
        (MemoryError(), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (KeyboardInterrupt(), False),
        (None, False),
    ],
)
def test_nothing_runs_again_after_an_error_of_memory_or_of_the_device(
    error: BaseException | None, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.last_value", error, raising=False)
    monkeypatch.delattr("sys.last_exc", raising=False)
    assert (crash() is error) is (told or error is None)


def test_what_raised_is_explained_with_fixes_that_were_tried() -> None:
    net = Net()
    message, _ = findings(trace_of(lambda: net(torch.ones(5, 7))))[0]
    assert message.endswith(
        "; give the model x of 5×4 (tried: the model then gives 5×2), or set num_features=7 in norm and in_features=7"
        " in first (tried: the model then gives 5×2)"
    )
    message, _ = findings(trace_of(lambda: nn.CrossEntropyLoss()(torch.ones(2, 5, 4), torch.ones(2, 1, 4).long())))[0]
    assert message.endswith("; give the model target.squeeze(1) (tried: the model then gives a scalar)")


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight


def scale(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor


def test_a_line_is_given_no_advice_that_may_mix_the_examples() -> None:
    message, _ = findings(trace_of(lambda: multiply(torch.ones(2, 3), torch.ones(4, 3))))[0]
    line = multiply.__code__.co_firstlineno + 1
    assert message.endswith(
        f"; apply .transpose(-2, -1) to the second operand of @ in line {line}, which is 3×4 (tried: the line then"
        " gives 2×4)"
    )
    message, _ = findings(trace_of(lambda: scale(torch.ones(5, 6), torch.ones(6, 5))))[0]
    assert "tried" not in message


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_that_raised_is_explained_by_running_it_without_being_compiled(in_place: bool) -> None:
    net = Plain()
    run: Any = net if in_place else torch.compile(net, backend="eager")
    if in_place:
        net.compile(backend="eager")
    run(torch.ones(2, 4))
    trace = trace_of(lambda: run(torch.ones(2, 5)))
    assert trace is not None
    assert [call.path for call in trace.calls] == ["", "first"]
    assert (trace.run.replay, trace.run.replay_reason) == ("inexact", "it ran without being compiled")
    [(message, code)] = findings(trace)
    assert (
        message.startswith("first (Linear) expects 4 features, got 5")
        and code == "return self.last(torch.relu(self.first(x)))"
    )
    assert run(torch.ones(2, 4)).shape == (2, 2)


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x / x.norm() * self.scale


def test_compiled_code_whose_numbers_go_wrong_is_run_again_as_its_python() -> None:
    with watched() as events:
        net: Any = torch.compile(Norm(), backend="eager")
        net(torch.zeros(2, 4))
    assert [told(event)[2:] for event in events] == [("exact", ["return x / x.norm() * self.scale"])]


def test_in_a_process_group_the_op_in_a_layer_runs_again_without_the_hooks_of_the_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # a process group puts one of its own there
    looked = []
    net = nn.Sequential(nn.Linear(4, 2))
    net[0].register_forward_pre_hook(lambda module, args: looked.append(module))
    error = error_of(lambda: net(torch.ones(1, 5)))
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        trace = explained(error, lambda module: (module, None, None))
    finally:
        dist.destroy_process_group()
    ((message, line),) = findings(trace)
    assert message.startswith("Linear.forward cannot multiply 1×5 by 4×2: the inner sizes are 5 and 4; input has 5")
    assert line == "error = error_of(lambda: net(torch.ones(1, 5)))"
    assert len(looked) == 1
