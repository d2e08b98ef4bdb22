"""How long calls take on the device that a model is on, as the device says itself, later than Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from torch import nn

from fwdtrace.program.passes import Pass
from fwdtrace.recorder.accelerators import TORCHS, Accelerators, Event
from fwdtrace.recorder.tree import first_parameter

MOST_AWAITED = 4
"""The latest calls that the device may not have got to; their arguments are held on to."""


class DeviceClock:
    """The times of calls on the device that a model is on, read once the device has got there: nothing waits for it."""

    def __init__(self, accelerators: Accelerators = TORCHS) -> None:
        self._accelerators = accelerators
        self._awaited: deque[tuple[Pass, Event, Event]] = deque(maxlen=MOST_AWAITED)

    def mark(self, model: nn.Module) -> Event | None:
        """A mark in the stream of the model's device; None if it is on no accelerator, or cannot be timed now."""
        kind = self._accelerators.kind()
        parameter = first_parameter(model) if kind is not None else None
        if parameter is None or parameter.device.type != kind:
            return None
        try:
            stream = self._accelerators.stream(str(parameter.device))
            return self._accelerators.mark(stream) if stream is not None else None
        except RuntimeError:  # the device has failed, as the program will see
            return None

    def await_end(self, noted: Pass, begin: Event, end: Event) -> None:
        """A call has been given to the device, between these marks."""
        self._awaited.append((noted, begin, end))

    def ended(self) -> Iterator[tuple[Pass, float]]:
        """The calls that have ended on the device since this was asked, each with its seconds."""
        try:
            while self._awaited and self._awaited[0][2].query():
                noted, begin, end = self._awaited.popleft()
                yield noted, begin.elapsed_time(end) / 1000
        except RuntimeError:
            self._awaited.clear()
