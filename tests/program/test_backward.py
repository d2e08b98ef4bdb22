"""A call is recorded with the backward that the program itself runs, up to the step of the optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fwdtrace.findings import find
from fwdtrace.program.kept import KeptCall
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.session import running
from fwdtrace.trace.called import MODES

X = torch.ones(2, 4)


class Net(nn.Module):
    """Two layers, of which one never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


@contextmanager
def watched(wanted: Wanted = Wanted(), *, ops: bool = False) -> Iterator[list[KeptCall]]:  # noqa: B008
    """What is kept of the calls in the block, with gradients; a RuntimeError in it ends the program."""
    kept: list[KeptCall] = []
    watch = Watch(wanted, Options(ops=ops, gradients=True), lambda each: kept.append(each) is not None)
    watch.begin()
    ended_by = None
    try:
        yield kept
    except RuntimeError as error:
        ended_by = error
        raise
    finally:
        watch.end(ended_by)
    assert running.session is None
    assert not torch.optim.Optimizer(nn.Linear(1, 1).parameters(), {})._optimizer_step_pre_hooks


def arrived(kept: KeptCall) -> dict[str, bool] | None:
    """Which parameters have a gradient."""
    gradients = kept.trace.gradients
    return None if gradients is None else {each.name: each.norm is not None for each in gradients}


USED_ALONE = {"used.weight": True, "used.bias": True, "spare.weight": False, "spare.bias": False}


def test_the_gradients_are_those_that_the_optimizer_gets() -> None:
    with watched() as kept:
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(X).sum().backward()
        assert kept == []
        optimizer.step()
        (call,) = kept
        optimizer.zero_grad()
        net(X).sum().backward()
        optimizer.step()
    assert kept == [call]
    assert arrived(call) == USED_ALONE
    assert all(each.backward is not None for each in call.trace.calls)
    assert "FT008" in {finding.code for finding in call.trace.findings}


def test_a_step_of_another_model_does_not_end_the_recording() -> None:
    with watched() as kept:
        net, other = Net(), nn.Bilinear(2, 2, 1)
        net(X).sum().backward()
        torch.optim.SGD(other.parameters(), lr=0.1).step()
        assert kept == []
        torch.optim.SGD(net.parameters(), lr=0.1).step()
        assert len(kept) == 1


def test_models_are_recorded_side_by_side() -> None:
    with watched() as kept:
        first, second = Net(), nn.Linear(4, 1)
        second(first(X)).sum().backward()
        torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.1).step()
    assert [(each.root, len(each.trace.calls)) for each in kept] == [(0, 2), (1, 1)]
    assert arrived(kept[0]) == USED_ALONE
    assert arrived(kept[1]) == {"weight": True, "bias": True}
    assert all(each.trace.calls[0].entry == "__call__" for each in kept)


def test_another_call_ends_the_recording_and_no_gradient_is_claimed_to_be_missing() -> None:
    with watched() as kept:
        net = Net()
        loss = net(X).sum() + net(X).sum()
        assert len(kept) == 1
        loss.backward()
    assert arrived(kept[0]) is None
    assert "FT008" not in {finding.code for finding in find(kept[0].trace)}


def test_the_end_of_the_program_ends_the_recording() -> None:
    with watched() as kept:
        Net()(X).sum().backward()
    assert arrived(kept[0]) == USED_ALONE


def test_a_call_without_gradients_is_kept_at_once() -> None:
    with watched() as kept:
        net = Net().eval()
        net(X)
        assert len(kept) == 1
    assert arrived(kept[0]) is None


def test_what_backward_computes_again_is_seen_as_such() -> None:
    class Checkpointed(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.used, x, use_reentrant=False)

    with watched() as kept:
        net = Checkpointed()
        net(X).sum().backward()
        torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert [(call.path, call.in_backward) for call in kept[0].trace.calls] == [
        ("", False), ("used", False), ("used", True),
    ]  # fmt: skip


def test_calls_of_a_model_that_backward_makes_are_counted_apart() -> None:
    watch = Watch(Wanted(), Options(), lambda kept: False)
    watch.begin()
    net = Net()
    for _ in range(25):  # beyond which its calls are only counted
        checkpoint(net, X.clone().requires_grad_(), use_reentrant=True).sum().backward()
    (called,) = watch.called()
    watch.end()
    assert called.ways == {("", "__call__"): {mode: 25 * (mode == "training without gradients") for mode in MODES}}
    assert called.in_backward == 25


def test_an_error_ends_the_recording() -> None:
    with watched() as kept, pytest.raises(RuntimeError):
        Net()(torch.ones(2, 5))
    assert kept[0].trace.calls[0].error is not None


def test_an_error_of_backward_that_ends_the_program_is_explained() -> None:
    class Gate(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate = torch.sigmoid(self.used(x))
            gate += 0.1
            return gate

    with pytest.raises(RuntimeError), watched(ops=True) as kept:
        Gate()(X).sum().backward()
    (finding,) = (each for each in find(kept[0].trace) if each.code == "FT011")
    assert finding.site is not None and finding.site.code == "gate += 0.1"
    assert "torch.sigmoid" in finding.message
