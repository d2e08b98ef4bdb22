"""What a call of a model needs to be run again, taken immediately before it in microseconds."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.models.randomness import RandomState, accelerators_in_use, random_state
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import Position
from fwdtrace.recorder.measures.values import version_of
from fwdtrace.recorder.torch_internals import Unseen

MOST_BUFFER_BYTES = 2**22
"""Buffers are copied before a call up to so many bytes for each model."""


@dataclass(frozen=True)
class Modes:
    """The modes of torch that decide how an op computes: gradients, autocast by kind of device, determinism."""

    grad: bool
    inference: bool
    autocast: tuple[tuple[str, bool, torch.dtype], ...]
    autocast_cache: bool
    deterministic: bool
    warn_only: bool

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Have torch in these modes; what already is as it was is left alone."""
        now = modes_now()
        with contextlib.ExitStack() as stack:
            if (now.deterministic, now.warn_only) != (self.deterministic, self.warn_only):
                torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
                stack.callback(torch.use_deterministic_algorithms, now.deterministic, warn_only=now.warn_only)
            if now.inference != self.inference:
                stack.enter_context(torch.inference_mode(self.inference))
            for kind, enabled, dtype in self.autocast if now.autocast != self.autocast else ():
                stack.enter_context(torch.autocast(kind, dtype, enabled, self.autocast_cache))
            stack.enter_context(torch.set_grad_enabled(self.grad))
            yield


def modes_now() -> Modes:
    """The modes that torch is in now."""
    kinds = ["cpu", *(module.__name__.rpartition(".")[2] for module in accelerators_in_use())]
    return Modes(
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        tuple((kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds),
        torch.is_autocast_cache_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


@dataclass(frozen=True)
class Moment:
    """A call that is about to be made: how it is made, and the random states, modes and buffers of then.

    `versions` says how often each tensor in the arguments had been written into. `buffers` has what is about to be
    overwritten, and a copy. `position` is the line of the program's that makes the call.
    """

    module: nn.Module
    entry: str
    args: Any
    kwargs: Any
    versions: tuple[int, ...]
    random: RandomState
    modes: Modes
    buffers: tuple[tuple[weakref.ref[Tensor], Tensor], ...] = ()
    position: Position | None = None

    def run(self, args: Any, kwargs: Any) -> Any:
        """Make the call, with these arguments in place of its own."""
        return self.module(*args, **kwargs) if self.entry == "__call__" else self.module.forward(*args, **kwargs)

    def was_written_into(self) -> bool:
        """Whether something has written into a tensor of the arguments since."""
        return versions_of((self.args, self.kwargs)) != self.versions


class Buffers:
    """The buffers of a model that its calls write into, so that what they were before a call can be copied.

    Running statistics of BatchNorm are none of them: in training they are written, and not read.
    """

    def __init__(self) -> None:
        self._written: list[weakref.ref[Tensor]] | None = None
        self._known: list[tuple[weakref.ref[Tensor], int]] = []

    def before(self, model: nn.Module) -> tuple[tuple[weakref.ref[Tensor], Tensor], ...]:
        """Copies of the buffers that a call has written into; before the first call, of all."""
        if self._written is None:
            self._known = [(weakref.ref(buffer), version_of(buffer)) for buffer in _buffers_that_count(model)]
            return _copies([reference for reference, _ in self._known])
        return _copies(self._written) if self._written else ()

    def after(self) -> None:
        """The call has ended: see which it has written into, the first time."""
        if self._written is None:
            self._written = [
                reference
                for reference, version in self._known
                if (buffer := reference()) is not None and version_of(buffer) != version
            ]
            self._known = []


def moment_before(
    module: nn.Module,
    entry: str,
    args: Any,
    kwargs: Any,
    model: nn.Module,
    buffers: Buffers,
    position: Position | None = None,
) -> Moment:
    """What the call that is about to be made needs to be run again; `model` is at the top of what holds the module."""
    versions = versions_of((args, kwargs))
    return Moment(module, entry, args, kwargs, versions, random_state(), modes_now(), buffers.before(model), position)


def versions_of(value: Any) -> tuple[int, ...]:
    """How often each of the tensors in there has been written into."""
    return tuple(map(version_of, tensors_of(value)))


def _buffers_that_count(model: nn.Module) -> Iterator[Tensor]:
    size = 0
    for module in model.modules():
        unread = module.training and getattr(module, "track_running_stats", False)
        for buffer in module._buffers.values() if not unread else ():
            if buffer is None or buffer.is_meta:
                continue
            size += buffer.numel() * buffer.element_size()
            if size > MOST_BUFFER_BYTES:
                return
            yield buffer


def _copies(references: list[weakref.ref[Tensor]]) -> tuple[tuple[weakref.ref[Tensor], Tensor], ...]:
    with Unseen():
        return tuple((reference, buffer.clone()) for reference in references if (buffer := reference()) is not None)
