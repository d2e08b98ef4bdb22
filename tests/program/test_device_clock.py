"""Calls that are slow on a device that runs later than Python."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fwdtrace
from fwdtrace.program import slow_calls
from fwdtrace.program.device_clock import MOST_AWAITED, DeviceClock
from tests.helpers.fake_accelerator import FakeAccelerator, Layer


class Net(nn.Module):
    """A model whose device is busy for as long as it is told."""

    def __init__(self, device: FakeAccelerator) -> None:
        super().__init__()
        self.layer = Layer(device)
        self.head = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, microseconds: float = 1000.0) -> torch.Tensor:
        self.layer.microseconds = microseconds
        return self.head(self.layer(x))  # type: ignore[no-any-return]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeAccelerator:
    fake = FakeAccelerator()
    monkeypatch.setattr(slow_calls, "DeviceClock", lambda: DeviceClock(fake))
    return fake


def test_a_call_that_is_slow_on_the_device_is_explained_once_the_device_is_done(device: FakeAccelerator) -> None:
    net, x = Net(device), torch.ones(1, 2)
    with fwdtrace.watch(on="slow=5") as watch:
        for number in range(1, 31):
            net(x, 50_000.0 if number == 25 else 1000.0)
            assert len(watch.traces) == (number > 26)
            if number % 2 == 0:
                device.wait("cpu")
    (trace,) = watch.traces
    assert (trace.run.event, trace.run.call, trace.run.first_us, trace.run.usual_us) == ("slow", 25, 50_000.0, 1000.0)
    assert trace.run.replay == "inexact"
    assert device.waits == 15


def test_no_more_than_the_latest_calls_are_held_while_the_device_is_behind(device: FakeAccelerator) -> None:
    with fwdtrace.watch(on="slow") as watch:
        net = Net(device)
        for _ in range(MOST_AWAITED + 20):
            net(torch.ones(1, 2))
        assert watch._watch.events is not None
        assert len(watch._watch.events._slow._clock._awaited) == MOST_AWAITED


def test_a_device_that_has_failed_is_not_asked(device: FakeAccelerator) -> None:
    device.has_failed = True
    with fwdtrace.watch(on="slow") as watch:
        Net(device)(torch.ones(1, 2))
    assert watch.traces == ()
