"""A device that runs later than Python, as a GPU does, in place of torch's: the tensors on the CPU are taken for its.

Work is put into it by hand, in microseconds and bytes. It gets on with its work only when somebody waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording


class FakeAccelerator:
    """Its one device is `"cpu"`; `queued` is when all that it was given will be done, `done` how far it is."""

    def __init__(self) -> None:
        self.queued = self.done = 0.0
        self.allocated = self.peak = 0
        self.current = "main"
        self.is_capturing = self.has_failed = False
        self.counts_memory = True
        self.waits = self.marks = 0

    def work(self, microseconds: float) -> None:
        """Give the device something to do."""
        self.queued += microseconds

    def allocate(self, size: int) -> None:
        """Take memory of the device; a negative size gives it back."""
        self.allocated += size
        self.peak = max(self.peak, self.allocated)

    def kind(self) -> str | None:
        """What its tensors' device is called."""
        return "cpu"

    def stream(self, device: str) -> Any:
        """The name of the current stream; None while it is captured."""
        assert device == "cpu"
        self.fail()
        return None if self.is_capturing else self.current

    def mark(self, stream: Any) -> FakeEvent:
        """An event behind all that was queued so far."""
        assert stream == self.current
        self.marks += 1
        return FakeEvent(self, self.queued)

    def wait(self, device: str) -> None:
        """Do all that is queued."""
        assert not self.is_capturing, "to wait would spoil the graph"
        self.fail()
        self.waits += 1
        self.done = self.queued

    def memory(self, device: str) -> tuple[int, int] | None:
        """The bytes allocated, and their peak, which begins anew."""
        peak, self.peak = self.peak, self.allocated
        return (self.allocated, peak) if self.counts_memory else None

    def fail(self) -> None:
        """Raise what torch raises once a kernel has failed."""
        if self.has_failed:
            raise RuntimeError("CUDA error: device-side assert triggered")


@dataclass
class FakeEvent:
    """A mark at a time of the device; it cannot be read before the device was there."""

    accelerator: FakeAccelerator
    at: float

    def query(self) -> bool:
        """Whether the device was there."""
        assert not self.accelerator.is_capturing, "to ask would spoil the graph"
        return self.accelerator.done >= self.at

    def elapsed_time(self, end_event: FakeEvent, /) -> float:
        """Milliseconds until the other event."""
        if not (self.query() and end_event.query()):
            raise RuntimeError("both events must be completed before calculating elapsed time")
        return (end_event.at - self.at) / 1000


class Layer(nn.Module):
    """Keeps the device busy for a time, with some memory that it gives back and some that it keeps."""

    def __init__(self, accelerator: FakeAccelerator, microseconds: float = 0, needs: int = 0, keeps: int = 0) -> None:
        super().__init__()
        self.accelerator = accelerator
        self.microseconds, self.needs, self.keeps = microseconds, needs, keeps

    def forward(self, x: Tensor) -> Tensor:
        self.accelerator.allocate(self.needs)
        self.accelerator.work(self.microseconds)
        self.accelerator.allocate(self.keeps - self.needs)
        return x + 1


def recording(model: nn.Module, accelerator: FakeAccelerator, **options: Any) -> Recording:
    """A recording that takes this for the machine's accelerator."""
    return Recording(model, Options(accelerators=accelerator, **options))
