"""Calls that take much longer than those of their model usually do, by the host's or the device's clock, explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from fwdtrace.program.device_clock import DeviceClock
from fwdtrace.program.late import LateReplays
from fwdtrace.program.passes import Pass
from fwdtrace.program.steps import Happened, Steps
from fwdtrace.recorder.recorded import Options

TIMED = Options(ops=True, alone=True)
"""What the replay of a slow call measures."""
LATER = "its weights may be others by now, as only later the device was done"
"""Why the replay of a call that was slow on the device may not be as at first."""


class SlowCalls:
    """The watch for calls that took more than `factor` times the median; each answer is whether to end the program."""

    def __init__(self, factor: float, steps: Steps, replays: LateReplays) -> None:
        self._factor: float | None = factor
        self._steps, self._replays = steps, replays
        self._clock = DeviceClock()

    def end(self) -> None:
        """Explain nothing from now on."""
        self._factor = None

    def mark(self, module: nn.Module) -> Any:
        """A mark in the time of the device that a model is on; None if it is on none."""
        return self._clock.mark(module)

    def took(self, noted: Pass, began: Any, seconds: float) -> bool:
        """A call has taken so many seconds of the host, since this mark on the device."""
        ended = self._clock.mark(noted.moment.module) if began is not None else None
        if ended is None:
            return self._is_slow(noted, seconds) and self._explain(noted, seconds)
        self._clock.await_end(noted, began, ended)
        return False

    def look_at_device(self) -> bool:
        """Explain the calls that turn out to have been slow on the device."""
        end_now = False
        for noted, seconds in self._clock.ended():
            end_now |= self._is_slow(noted, seconds) and self._explain(noted, seconds, LATER)
        return end_now

    def _is_slow(self, noted: Pass, seconds: float) -> bool:
        if self._factor is None or noted.root.groups:
            return False
        return noted.root.usual.is_exceeded(seconds, self._factor)

    def _explain(self, noted: Pass, seconds: float, inexact: str = "") -> bool:
        times = seconds * 1e6, noted.root.usual.median * 1e6
        happened = Happened("slow", self._steps.of_root(noted.root), 1, *times)
        replay = self._replays().replay(noted, happened, [] if inexact else noted.output(), None, TIMED)
        return self._replays().hand_over(noted, replace(replay, inexact=inexact) if inexact else replay, happened)
