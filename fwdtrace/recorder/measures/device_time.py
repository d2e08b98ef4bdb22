"""How long a device takes for each call, where it runs while Python goes on: two events in its stream, read at the end.

The time is from when the device reached the call until it was done with it, waiting for Python included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fwdtrace.recorder.accelerators import Event, devices_in
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.tree import first_parameter


@dataclass(frozen=True, slots=True)
class _Mark:
    """An event and the stream that it is in."""

    stream: Any
    event: Event


class DeviceTime:
    """The measure of time on accelerators; nothing waits for the device while the model runs.

    A call is measured if its outputs are on one accelerator, which its inputs or its module were on too, and if its
    work went into one stream. While a stream is captured into a graph, no event is put into it.
    """

    def __init__(self, session: Session) -> None:
        self._accelerators = session.recordings[-1].options.accelerators  # of the recording that asked for it
        self._kind = self._accelerators.kind() or ""
        self._begun: dict[OpenCall, dict[str, _Mark]] = {}
        self._unread: dict[OpenCall, tuple[str, Event, Event]] = {}
        self._times: dict[OpenCall, float] = {}

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Mark the streams of the devices that the call may work on."""
        if type(call) is OpenCall:
            marks = {device: self._mark(device) for device in devices_at_work(call, self._kind)}
            self._begun[call] = {device: mark for device, mark in marks.items() if mark is not None}

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Mark the stream of the device that the outputs are on."""
        begun = self._begun.pop(call, None) if type(call) is OpenCall else None
        devices = devices_in(call.outputs, self._kind) if begun else ()
        if begun and len(devices) == 1:
            (device,) = devices
            first, last = begun.get(device), self._mark(device)
            if first is not None and last is not None and first.stream == last.stream:
                self._unread[call] = device, first.event, last.event  # type: ignore[index]

    def stop(self) -> None:
        """Nothing was put in place but events, which the device has passed or will pass."""

    def wait(self) -> None:
        """Wait once for the devices, so that all times can be read; not where a graph is being captured."""
        try:
            devices = self._readable({device for device, _, _ in list(self._unread.values())})
            for device in devices:
                self._accelerators.wait(device)
        except RuntimeError:  # the device has failed
            return

    def times(self) -> dict[OpenCall, float]:
        """The microseconds of each call that was measured and that its device is done with."""
        unread = list(self._unread.items())
        try:
            devices = self._readable({device for _, (device, _, _) in unread})
            for call, (device, first, last) in unread:
                if device in devices and last.query():
                    self._times[call] = first.elapsed_time(last) * 1000
                    del self._unread[call]
        except RuntimeError:  # the device has failed
            pass
        return self._times

    def _readable(self, devices: set[str]) -> set[str]:
        """These devices; none if a graph is being captured on one, which asking for an event would spoil."""
        return set() if any(self._accelerators.stream(device) is None for device in devices) else devices

    def _mark(self, device: str) -> _Mark | None:
        try:
            stream = self._accelerators.stream(device)
            return _Mark(stream, self._accelerators.mark(stream)) if stream is not None else None
        except RuntimeError:  # the device has failed, and the model's next operation says so
            return None


def devices_at_work(call: OpenCall, kind: str) -> set[str]:
    """The devices of this kind that a call may work on, as it begins: those of its inputs, else that of its module."""
    devices = devices_in(call.inputs, kind)
    if devices:
        return devices
    module = call.seen.module()
    parameter = first_parameter(module) if module is not None else None
    return {str(parameter.device)} if parameter is not None and parameter.device.type == kind else set()
