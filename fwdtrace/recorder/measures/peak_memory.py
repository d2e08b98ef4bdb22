"""The most memory that each call needed of an accelerator, if asked: beyond what was allocated when it began.

The allocator's own peaks are reset at every boundary. So this is measured where the process is ours alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fwdtrace.recorder.measures.device_time import devices_at_work
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.session import Session


class _Level:
    """Bytes on the device of a call: how much was allocated when it began, and the most that was seen since."""

    __slots__ = ("device", "most", "start")

    def __init__(self, device: str, start: int) -> None:
        self.device = device
        self.start = self.most = start


class PeakMemory:
    """The measure of peak memory: between two boundaries, the peak is the innermost open call's."""

    def __init__(self, session: Session) -> None:
        self._accelerators = session.recordings[-1].options.accelerators  # of the recording that asked for it
        self._kind = self._accelerators.kind() or ""
        self._levels: dict[OpenCall, _Level] = {}

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Note how much is allocated; what was needed until now, the caller needed."""
        devices = devices_at_work(call, self._kind) if type(call) is OpenCall else ()
        if type(call) is OpenCall and len(devices) == 1:
            (device,) = devices
            memory = self._memory(device)
            if memory is not None:
                self._raise(call.parent, device, memory[1])
                self._levels[call] = _Level(device, memory[0])

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Note the most that was needed since the last boundary."""
        level = self._levels.get(call) if type(call) is OpenCall else None
        memory = self._memory(level.device) if level else None
        if level and memory:
            level.most = max(level.most, memory[1])

    def stop(self) -> None:
        """Nothing was put in place."""

    def totals(self, calls: Iterable[OpenCall]) -> dict[OpenCall, int]:
        """The bytes that each call needed, its submodules included; without calls that raised, which did not end."""
        for call in reversed(list(calls)):
            level = self._levels.get(call)
            if level is not None:
                self._raise(call.parent, level.device, level.most)
        return {
            call: level.most - level.start
            for call, level in self._levels.items()
            if call.rare is None or call.rare.error is None
        }

    def _raise(self, call: OpenCall | None, device: str, most: int) -> None:
        """Have the innermost call around that is measured on this device know of this peak."""
        while call is not None:
            level = self._levels.get(call)
            if level is not None and level.device == device:
                level.most = max(level.most, most)
                return
            call = call.parent

    def _memory(self, device: str) -> tuple[int, int] | None:
        try:
            return self._accelerators.memory(device)
        except RuntimeError:  # the device has failed, and the model's next operation says so
            return None
