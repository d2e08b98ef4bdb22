"""What recording asks of accelerators, the devices that run while Python goes on: events, and how much memory is used.

A device is named as a leaf names it, `"cuda:0"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch

from fwdtrace.trace import Leaf, TensorMeta

_IS_NEUTRAL = hasattr(torch, "accelerator")
"""Whether torch names all accelerators alike, as it does since 2.6; before, only those of `torch.cuda` are measured."""


class Event(Protocol):
    """A mark in a stream."""

    def query(self) -> bool:
        """Whether the device has reached it."""

    def elapsed_time(self, end_event: Any, /) -> float:
        """The milliseconds from this mark to another; RuntimeError if one of them has not been reached."""


class Accelerators(Protocol):
    """The accelerators of one kind. Each function may raise RuntimeError if the device has failed."""

    def kind(self) -> str | None:
        """The type of the devices that this process has begun to use, such as `"cuda"`; None if there are none."""

    def stream(self, device: str) -> Any:
        """The stream that work for this device goes into now; None if it is being captured into a graph."""

    def mark(self, stream: Any) -> Event:
        """A new event in this stream."""

    def wait(self, device: str) -> None:
        """Wait until the device has done all that it was given."""

    def memory(self, device: str) -> tuple[int, int] | None:
        """The bytes allocated now, and the most since this was last asked; None if the device does not count them.

        The device then counts anew, so this is only for a process whose own code does not ask for the most.
        """


class TorchsAccelerators:
    """The accelerators that torch knows."""

    def kind(self) -> str | None:
        """The type in use; to ask torch whether a device is available would begin to use it."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return "cuda"
        if _IS_NEUTRAL and torch.xpu.is_initialized():  # type: ignore[no-untyped-call]
            return "xpu"
        return "mps" if _IS_NEUTRAL and torch.backends.mps.is_available() else None

    def stream(self, device: str) -> Any:
        """The current stream of the device, which need not be the current device."""
        place = torch.device(device)
        module: Any = getattr(torch, place.type)
        if hasattr(module, "is_current_stream_capturing"):
            with module.device(place.index):
                if module.is_current_stream_capturing():
                    return None
        return torch.accelerator.current_stream(place) if _IS_NEUTRAL else torch.cuda.current_stream(place)

    def mark(self, stream: Any) -> Event:
        """A new event in this stream."""
        event: Any = torch.Event(stream.device, enable_timing=True) if _IS_NEUTRAL else _cuda_event()
        event.record(stream)
        return event  # type: ignore[no-any-return]

    def wait(self, device: str) -> None:
        """Wait for all streams of the device."""
        module: Any = torch.accelerator if _IS_NEUTRAL else torch.cuda
        module.synchronize(torch.device(device))

    def memory(self, device: str) -> tuple[int, int] | None:
        """By the statistics of torch's own allocator, of which the peaks are reset."""
        place = torch.device(device)
        module: Any = getattr(torch, place.type)
        if not hasattr(module, "reset_peak_memory_stats"):
            return None
        counts = module.memory_stats(place)
        module.reset_peak_memory_stats(place)
        return counts.get("allocated_bytes.all.current", 0), counts.get("allocated_bytes.all.peak", 0)


TORCHS: Accelerators = TorchsAccelerators()


def devices_in(leaves: Iterable[Leaf], kind: str) -> set[str]:
    """The devices of this kind that hold tensors among the leaves."""
    return {leaf.device for leaf in leaves if type(leaf) is TensorMeta and leaf.device.partition(":")[0] == kind}


def _cuda_event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
