"""A call is run again from its moment: bit for bit as at first, and nothing of the program changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fwdtrace.program.moment import Changing, moment_before
from fwdtrace.program.replay import TRANSFORMED, Replay, replayed
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.recorded import Options

X = torch.linspace(-2, 2, 24).reshape(4, 6)


class Noisy(nn.Module):
    """Draws from every generator, and has a state of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer, self.drop = nn.BatchNorm1d(6), nn.Linear(6, 3), nn.Dropout(0.5)
        self.calls, self.seen = 0, []

    def forward(self, x: Tensor) -> Tensor:
        print("forward runs")
        self.calls += 1
        self.seen.append(x.shape)
        self.last = x.shape
        x = self.drop(self.layer(self.norm(x)))
        return x * random.random() + float(numpy.random.rand())


def twice(model: nn.Module, *args: Any, between: Callable[[], Any] = lambda: None, backward: bool = False) -> Replay:
    """What is seen of a call when it runs again."""
    moment = moment_before(model, "__call__", args, {}, model, Changing())
    output = model(*args)
    between()
    gradients = None
    if backward:
        gradients = [torch.ones_like(tensor) for tensor in tensors_of(output)]
        torch.autograd.backward(tensors_of(output), gradients)
    return replayed(moment, model, Options(ops=True), 1, tensors_of(output), gradients)


def state_of(model: nn.Module) -> list[Any]:
    return [value.tolist() for value in model.state_dict().values()]


def test_random_numbers_of_every_generator_are_the_same_again() -> None:
    replay = twice(Noisy(), X)
    assert replay.traced.run.replay == "exact"
    assert replay.traced.run.replay_reason is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_as_it_was(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.Linear(6, 2))
    with torch.autocast("cpu", dtype):
        moment = moment_before(net, "__call__", (X,), {}, net, Changing())
        output = net(X)
    replay = replayed(moment, net, Options(), 1, [output])
    assert not replay.inexact
    assert replay.trace.calls[0].outputs[0].dtype == str(dtype).removeprefix("torch.")  # type: ignore[union-attr]
    assert not torch.is_autocast_enabled("cpu")


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 6), nn.Dropout())

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.body, x, use_reentrant=False)


@pytest.mark.parametrize("make", [Noisy, Checkpointed, lambda: nn.LSTM(6, 3, dropout=0.5, num_layers=2)])
def test_backward_runs_again_from_the_gradients_that_came(make: Callable[[], nn.Module]) -> None:
    net = make()
    replay = twice(net, X, backward=True)
    assert not replay.inexact
    assert {each.name for each in replay.trace.gradients or () if each.norm} == {
        name for name, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }


def test_the_program_sees_nothing_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    net = Noisy()
    parameter = net.layer.weight
    ran: list[Tensor] = []
    parameter.register_post_accumulate_grad_hook(ran.append)
    before: list[Any] = []

    def between() -> None:
        net.last = torch.Size((7,))
        before.extend([state_of(net), random.getstate(), torch.get_rng_state(), numpy.random.get_state()[1].tolist()])
        capfd.readouterr()

    replay = twice(net, X, between=between, backward=True)
    assert capfd.readouterr() == ("", "")
    after = [state_of(net), random.getstate(), torch.get_rng_state(), numpy.random.get_state()[1].tolist()]
    assert all(
        torch.equal(one, two) if isinstance(one, Tensor) else one == two for one, two in zip(before, after, strict=True)
    )
    assert (net.calls, net.seen, net.last) == (1, [(4, 6)], (7,))
    assert len(ran) == 1
    assert replay.trace.gradients is not None and parameter.grad is not None


def test_a_gradient_does_not_go_on_into_what_made_the_arguments() -> None:
    maker, net = nn.Linear(6, 6), nn.Linear(6, 1)
    replay = twice(net, maker(X), backward=True)
    assert replay.raised is None
    assert maker.weight.grad is not None


@pytest.mark.parametrize("normalize", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_buffers_are_what_they_were_before_the_call(normalize: Callable[[nn.Module], nn.Module]) -> None:
    assert not twice(normalize(nn.Linear(6, 6)), X).inexact


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(6, 6), 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.layer(x) * self.calls


def test_what_a_module_counts_is_what_it_was_before_the_call() -> None:
    net = Counting()
    net.layer = Counting()  # type: ignore[assignment]
    assert not twice(net, X).inexact
    assert (net.calls, net.layer.calls) == (1, 1)


class Outside(nn.Linear):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        Outside.calls += 1
        return super().forward(x) * Outside.calls


class Overwriting(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Outside(6, 6), "it computes from something that changes with each call"),
        (lambda: Overwriting(6, 6), "an argument was written into"),
    ],
)
def test_what_ran_otherwise_is_said_to_be_inexact(make: Callable[[], nn.Module], reason: str) -> None:
    run = twice(make(), X.clone()).traced.run
    assert run.replay == "inexact" and (run.replay_reason or "").startswith(reason)


def no_memory() -> None:
    raise MemoryError("no room")


@pytest.mark.parametrize(("fail", "error"), [(no_memory, "MemoryError"), (lambda: torch.empty(2**60), "RuntimeError")])
def test_an_error_of_the_replay_ends_nothing(fail: Callable[[], Any], error: str) -> None:
    class Once(nn.Linear):
        calls: list[int] = []  # noqa: RUF012

        def forward(self, x: Tensor) -> Tensor:
            self.calls.append(1)
            if len(self.calls) > 1:
                fail()
            return super().forward(x)

    run = twice(Once(6, 6), X).traced.run
    assert (run.replay, run.replay_reason) == ("inexact", f"the replay raised {error}")


def test_a_call_in_a_transform_is_run_again_as_long_as_that_runs_and_no_longer() -> None:
    net, kept = nn.Linear(6, 2), []

    def of_one(x: Tensor) -> Tensor:
        kept.append(moment_before(net, "__call__", (x,), {}, net, Changing()))
        result: Tensor = net(x)
        inside.append(replayed(kept[0], net, Options(), 1))
        return result

    inside: list[Replay] = []
    torch.func.vmap(of_one)(X)
    after = replayed(kept[0], net, Options(), 1)
    assert inside[0].ran and inside[0].raised is None
    assert not after.ran and after.traced.run.replay_reason == TRANSFORMED


def test_other_weights_than_its_own_are_given_as_the_reason() -> None:
    class Kept(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            moments.append(moment_before(self, "__call__", (x,), {}, self, Changing()))
            return super().forward(x)

    net, moments = Kept(6, 2), []
    output = torch.func.functional_call(net, {"weight": torch.ones(2, 6), "bias": torch.ones(2)}, (X,))
    assert replayed(moments[0], net, Options(), 1, [output]).inexact.startswith("it ran with weights that torch.func")


def test_nan_is_the_same_as_nan() -> None:
    net = nn.Linear(6, 2)
    assert not twice(net, X * float("nan")).inexact


def test_the_graph_of_the_call_can_still_be_used() -> None:
    net = Noisy()
    buffer = net.norm.running_mean
    moment = moment_before(net, "__call__", (X,), {}, net, Changing())
    output = net(X)
    assert not replayed(moment, net, Options(), 1, [output]).inexact
    output.sum().backward()
    assert net.norm.running_mean is buffer


def test_buffers_that_modules_share_are_shared_in_the_replay() -> None:
    class Sharing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)
            self.register_buffer("one", torch.zeros(1))
            self.layer.register_buffer("other", self.one)

        def forward(self, x: Tensor) -> Any:
            self.one += 1
            return self.layer(x) * self.layer.other

    net = Sharing()
    assert not twice(net, X).inexact
    assert net.one is net.layer.other and net.one.item() == 1


class Momentum(nn.Module):
    """Has a key encoder that follows the other one, as forward writes it."""

    def __init__(self, write: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.key = nn.Linear(6, 3), nn.Linear(6, 3).requires_grad_(False)
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for key, own in zip(self.key.parameters(), self.layer.parameters(), strict=True):
                self.write(key, own)
        return (self.layer(x) * self.key(x)).sum()


def assigned(key: Tensor, own: Tensor) -> None:
    key.data = key.data * 0.9 + own.data * 0.1


@pytest.mark.parametrize(
    "write",
    [
        lambda key, own: key.mul_(0.9).add_(own, alpha=0.1),
        lambda key, own: key.data.mul_(0.9).add_(own.data, alpha=0.1),
        assigned,
    ],
)
def test_parameters_that_a_forward_writes_are_put_back(write: Callable[[Tensor, Tensor], Any]) -> None:
    net = Momentum(write)
    seen: list[Any] = []

    def look() -> None:
        seen.append([(each.tolist(), each._version, each.data_ptr()) for each in net.parameters()])

    replay = twice(net, X, between=look, backward=True)
    look()
    assert seen[0] == seen[1]
    assert replay.inexact == "it writes into its own parameters"


def test_without_memory_for_copies_nothing_runs_again_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(tensor: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    net = Noisy()
    monkeypatch.setattr("fwdtrace.program.state._copy", no_room)
    replay = twice(net, X, backward=True)
    assert (replay.trace.calls, replay.inexact) == ((), "the replay raised OutOfMemoryError")
    assert net.calls == 1
    assert net.layer.weight.grad is not None
