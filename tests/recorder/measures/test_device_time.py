"""A call on a device that runs later than Python has the time of the device, and the host's beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.recorder.measures.keeper import Keeper
from fwdtrace.recorder.session import running
from fwdtrace.trace import Trace
from tests.helpers.fake_accelerator import FakeAccelerator, Layer, recording

X = torch.ones(2, 4)


@pytest.fixture
def device() -> FakeAccelerator:
    return FakeAccelerator()


def device_times(trace: Trace) -> dict[str | None, float | None]:
    """The device's time by path, None where the host's stands in its place."""
    return {call.path: call.duration_us if call.host_us is not None else None for call in trace.calls}


def two_layers(device: FakeAccelerator) -> nn.Module:
    return nn.Sequential(Layer(device, 5_000_000), Layer(device, 250))


def test_a_call_has_the_time_of_the_device_and_that_of_the_host(device: FakeAccelerator) -> None:
    with recording(model := two_layers(device), device) as recorded:
        model(X)
    trace = recorded.trace
    assert device_times(trace) == {"": 5_000_250, "0": 5_000_000, "1": 250}
    root, *layers = trace.calls
    assert root.host_us is not None and root.host_us < 5_000_000
    assert all(call.host_us is not None and 0 < call.host_us < root.host_us for call in layers)


def test_nothing_waits_while_the_model_runs_and_the_end_waits_once(device: FakeAccelerator) -> None:
    model = two_layers(device)
    with recording(model, device) as recorded:
        for _ in range(3):
            model(X)
        assert device.waits == 0
    assert (device.waits, device.marks) == (1, 2 * 9)
    assert len(recorded.trace.calls) == 9 and device.waits == 1


def test_a_trace_inside_the_block_has_the_times_that_the_device_is_done_with(device: FakeAccelerator) -> None:
    model = Layer(device, 100)
    with recording(model, device) as recorded:
        model(X)
        device.done = device.queued
        model(X)
        times = [(call.duration_us, call.host_us is not None) for call in recorded.trace.calls]
        assert times[0] == (100, True) and times[1][1] is False
        assert device.waits == 0
    assert [call.duration_us for call in recorded.trace.calls] == [100, 100]


def test_no_event_goes_into_a_stream_that_is_being_captured(device: FakeAccelerator) -> None:
    model = Layer(device, 100)
    device.is_capturing = True
    with recording(model, device) as recorded:
        model(X)
    assert device_times(recorded.trace) == {"": None} and recorded.trace.calls[0].duration_us is not None
    assert (device.marks, device.waits) == (0, 0)


def test_an_end_within_a_capture_waits_for_nothing(device: FakeAccelerator) -> None:
    model = Layer(device, 100)
    with recording(model, device) as recorded:
        model(X)
        device.is_capturing = True
    assert device_times(recorded.trace) == {"": None} and device.waits == 0


class ChangesStream(nn.Module):
    """Leaves another stream current than it was called in."""

    def __init__(self, device: FakeAccelerator) -> None:
        super().__init__()
        self.device = device
        self.layer = Layer(device, 100)

    def forward(self, x: Tensor) -> Any:
        self.device.current = "side"
        return self.layer(x)


class OnMeta(nn.Module):
    """Gives a tensor that is on no such device."""

    def forward(self, x: Tensor) -> Tensor:
        return x.to("meta")


class GivesNumber(nn.Module):
    """Gives no tensor."""

    def forward(self, x: Tensor) -> float:
        return float(x.sum())


def test_a_call_that_ends_in_another_stream_has_the_time_of_the_host(device: FakeAccelerator) -> None:
    with recording(model := ChangesStream(device), device) as recorded:
        model(X)
    assert device_times(recorded.trace) == {"": None, "layer": 100}


@pytest.mark.parametrize("make", [OnMeta, GivesNumber])
def test_a_call_whose_output_is_elsewhere_has_the_time_of_the_host(
    make: Callable[[], nn.Module], device: FakeAccelerator
) -> None:
    with recording(model := make(), device) as recorded:
        model(X)
    assert device_times(recorded.trace) == {"": None}


class MakesItsOwnInput(nn.Module):
    """Gets no tensor, and has a parameter further down."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4))

    def forward(self) -> Any:
        return self.inner(X)


def test_a_call_without_tensors_begins_where_the_parameters_are(device: FakeAccelerator) -> None:
    with recording(model := MakesItsOwnInput(), device) as recorded:
        model()
    assert device_times(recorded.trace) == {"": 0, "inner": 0, "inner.0": 0}


def test_a_call_that_raises_has_the_time_of_the_host(device: FakeAccelerator) -> None:
    model = nn.Sequential(Layer(device, 100), nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="shapes"), recording(model, device) as recorded:
        model(X)
    assert device_times(recorded.trace) == {"": None, "0": 100, "1": None}


def test_a_device_that_fails_costs_its_times_and_nothing_else(device: FakeAccelerator) -> None:
    model = Layer(device, 100)
    with recording(model, device) as recorded:
        model(X)
        device.has_failed = True
        model(X)
    assert [(call.error, call.host_us) for call in recorded.trace.calls] == [(None, None)] * 2


def test_ctrl_c_waits_for_no_device(device: FakeAccelerator) -> None:
    model = Layer(device, 100)
    with pytest.raises(KeyboardInterrupt), recording(model, device) as recorded:
        model(X)
        raise KeyboardInterrupt
    assert device_times(recorded.trace) == {"": None} and device.waits == 0


class Busy(Keeper):
    """A measure that keeps the device busy itself."""

    def __init__(self, device: FakeAccelerator) -> None:
        super().__init__(0)
        self.device = device

    def begins(self, call: Any, args: Any, kwargs: Any) -> None:
        self.device.work(7)
        self.device.allocate(70)
        self.device.allocate(-70)

    def ends(self, call: Any, output: Any) -> None:
        self.begins(call, (), {})


def test_what_other_measures_do_on_the_device_is_not_the_calls(device: FakeAccelerator) -> None:
    model = Layer(device, 100, needs=10)
    with recording(model, device, peak_memory=True, stats=True, keeper=Busy(device)) as recorded:
        model(X)
    assert [(call.duration_us, call.memory_bytes) for call in recorded.trace.calls] == [(100, 10)]


def test_recordings_that_overlap_share_the_events(device: FakeAccelerator) -> None:
    model = Layer(device, 100)
    with recording(model, device) as outer:
        model(X)
        with recording(model, device) as inner:
            model(X)
    assert device_times(inner.trace) == {"": 100}
    assert [call.duration_us for call in outer.trace.calls] == [100, 100]
    assert device.marks == 4


def test_on_the_cpu_nothing_is_measured_beside_the_hosts_time() -> None:
    model = nn.Linear(4, 4)
    with fwdtrace.record(model) as recorded:
        assert running.session is not None and running.session.measures == ()
        model(X)
    (call,) = recorded.trace.calls
    assert call.host_us is None and call.duration_us is not None


def test_both_times_and_the_memory_are_saved(device: FakeAccelerator, tmp_path: Path) -> None:
    with recording(model := two_layers(device), device, peak_memory=True) as recorded:
        model(X)
    recorded.trace.save(tmp_path / "trace.json")
    assert fwdtrace.load_trace(tmp_path / "trace.json") == recorded.trace
