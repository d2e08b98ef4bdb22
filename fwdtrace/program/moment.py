"""What a call of a model needs to be run again, taken immediately before it in microseconds."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdtrace.models.randomness import RandomState, accelerators_in_use, random_state
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import Position
from fwdtrace.recorder.measures.values import version_of
from fwdtrace.recorder.parts import SCALARS
from fwdtrace.recorder.torch_internals import Unseen, transforms

MOST_BUFFER_BYTES = 2**22
"""Buffers are copied before a call up to so many bytes for each model."""


Values = tuple[tuple[weakref.ref[Tensor], Tensor], ...]
"""Buffers that may be overwritten, and copies of them."""
Attributes = tuple[tuple[weakref.ref[nn.Module], dict[str, Any]], ...]
"""Modules, and what they hold of numbers, texts and the like."""


@dataclass(frozen=True)
class Modes:
    """The modes of torch that decide how an op computes: gradients, autocast by kind of device, determinism.

    `transforms` says how many transforms of `torch.func` run around the call, whose tensors do not outlive them.
    """

    grad: bool
    inference: bool
    autocast: tuple[tuple[str, bool, torch.dtype], ...]
    autocast_cache: bool
    deterministic: bool
    warn_only: bool
    transforms: int | None

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
        transforms(),
    )


class Left(NamedTuple):
    """How the call was made that an error has left: in which modes of torch, and its number."""

    modes: Modes
    number: int | None


@dataclass(frozen=True)
class Moment:
    """A call that is about to be made: how it is made, and the random states, modes and buffers at that time.

    `versions` says how often each tensor in the arguments had been written into. `buffers` and `attributes`
    have what may be about to change. `position` is the line of the program's that makes the call. `has_other_weights`
    says that `torch.func.functional_call` has put tensors in place of the module's parameters.
    """

    module: nn.Module
    entry: str
    args: Any
    kwargs: Any
    versions: tuple[int, ...]
    random: RandomState
    modes: Modes
    buffers: Values = ()
    attributes: Attributes = ()
    position: Position | None = None
    has_other_weights: bool = False

    def run(self, args: Any, kwargs: Any) -> Any:
        """Make the call, with these arguments in place of its own."""
        return self.module(*args, **kwargs) if self.entry == "__call__" else self.module.forward(*args, **kwargs)

    def was_written_into(self) -> bool:
        """Whether something has written into a tensor of the arguments since."""
        return versions_of(self.args, self.kwargs) != self.versions


LEARNED_FROM = 3
"""From so many calls it is learned what the calls of a model change."""


class Changing:
    """What the calls of a model change in it, buffers and plain attributes, so that it can be put back before a replay.

    Running statistics of BatchNorm are left out: in training they are written, and not read.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._buffers: dict[int, weakref.ref[Tensor]] = {}
        self._modules: dict[int, weakref.ref[nn.Module]] = {}
        self._before: tuple[list[tuple[weakref.ref[Tensor], int]], Attributes] = ([], ())

    def before(self, model: nn.Module) -> tuple[Values, Attributes]:
        """What is known to change, as it is before a call; before the first calls, everything."""
        if self._calls >= LEARNED_FROM:
            return _copies(list(self._buffers.values())), _attributes(list(self._modules.values()))
        buffers = [weakref.ref(buffer) for buffer in _buffers_that_count(model)]
        attributes = _attributes([weakref.ref(module) for module in model.modules()])
        self._before = [(each, version_of(buffer)) for each in buffers if (buffer := each()) is not None], attributes
        return _copies(buffers), attributes

    def after(self) -> None:
        """The call has ended: see what it has changed."""
        if self._calls >= LEARNED_FROM:
            return
        self._calls += 1
        versions, attributes = self._before
        self._before = [], ()
        for reference, version in versions:
            buffer = reference()
            if buffer is not None and version_of(buffer) != version:
                self._buffers[id(buffer)] = reference
        for held, values in attributes:
            module = held()
            if module is not None and _plain(module) != values:
                self._modules[id(module)] = held


def moment_before(
    module: nn.Module,
    entry: str,
    args: Any,
    kwargs: Any,
    model: nn.Module,
    changing: Changing,
    position: Position | None = None,
) -> Moment:
    """What the call that is about to be made needs to be run again; `model` is at the top of what holds the module."""
    versions = versions_of(args, kwargs)
    buffers, attributes = changing.before(model)
    others = type(next(module.parameters(), None)) is Tensor
    modes = modes_now()
    return Moment(module, entry, args, kwargs, versions, random_state(), modes, buffers, attributes, position, others)


def versions_of(args: Any, kwargs: Any) -> tuple[int, ...]:
    """How often each of the tensors in the arguments of a call has been written into."""
    return tuple([version_of(tensor) for tensor in tensors_in_arguments(args, kwargs)])


def tensors_in_arguments(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors in the arguments of a call, in order; most calls are given tensors and numbers alone."""
    tensors: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if type(value) is Tensor:
            tensors.append(value)
        elif not isinstance(value, SCALARS):
            tensors += tensors_of(value)
    return tensors


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


def _copies(references: list[weakref.ref[Tensor]]) -> Values:
    if not references:
        return ()
    with Unseen():
        return tuple((reference, buffer.clone()) for reference in references if (buffer := reference()) is not None)


def _attributes(modules: list[weakref.ref[nn.Module]]) -> Attributes:
    return tuple((reference, _plain(module)) for reference in modules if (module := reference()) is not None)


def _plain(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in module.__dict__.items() if isinstance(value, SCALARS)}
