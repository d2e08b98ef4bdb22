"""The most memory that each call needed of the device, where the process is ours and it is asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fwdtrace.trace import Trace
from tests.helpers.fake_accelerator import FakeAccelerator, Layer, recording

X = torch.ones(2, 4)


def peaks(trace: Trace) -> dict[str | None, int | None]:
    return {call.path: call.memory_bytes for call in trace.calls}


def recorded(model: nn.Module, device: FakeAccelerator) -> Trace:
    with recording(model, device, peak_memory=True) as block:
        model(X)
    return block.trace


def test_a_call_needs_what_it_allocates_beyond_what_was_there() -> None:
    device = FakeAccelerator()
    device.allocate(1000)
    assert peaks(recorded(Layer(device, needs=300, keeps=20), device)) == {"": 300}


def test_a_caller_needs_what_its_parts_keep_and_the_most_of_one() -> None:
    device = FakeAccelerator()
    model = nn.Sequential(
        Layer(device, needs=50, keeps=40), Layer(device, needs=100), Layer(device, needs=10, keeps=10)
    )
    assert peaks(recorded(model, device)) == {"": 140, "0": 50, "1": 100, "2": 10}


def test_a_peak_between_the_parts_is_the_callers() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Layer(device, needs=5, keeps=5), Layer(device, needs=5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            device.allocate(500)
            device.allocate(-500)
            x = self.second(x)
            device.allocate(700)
            device.allocate(-700)
            return x

    device = FakeAccelerator()
    assert peaks(recorded(Between(), device)) == {"": 705, "first": 5, "second": 5}


def test_what_a_part_needed_that_raised_the_caller_needed() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Layer(device, needs=300)

        def forward(self, x: Tensor) -> Tensor:
            self.layer(x)
            raise ValueError

    class Recovers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Fails()

        def forward(self, x: Tensor) -> Tensor:
            try:
                self.part(x)
            except ValueError:
                return x
            raise AssertionError

    device = FakeAccelerator()
    assert peaks(recorded(Recovers(), device)) == {"": 300, "part": None, "part.layer": 300}


def test_the_peaks_of_a_program_are_left_alone() -> None:
    device = FakeAccelerator()
    device.allocate(1000)
    device.allocate(-1000)
    with recording(model := Layer(device, needs=300), device, costs=True) as block:
        model(X)
    assert peaks(block.trace) == {"": None} and device.peak == 1000


def test_a_device_that_counts_no_memory_leaves_it_out() -> None:
    device = FakeAccelerator()
    device.counts_memory = False
    assert peaks(recorded(Layer(device, needs=300), device)) == {"": None}
