"""The numbers of a training step: what a Keeper keeps, the gradients of every call's outputs, and the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.describe import unseen_tensors_of
from fwdtrace.recorder.measures.keeper import Keeper, Kept, Placed, Sides, digest_of, placed_as
from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.torch_internals import Unseen, part_here
from fwdtrace.recorder.tree import buffers_and_names, parameters_and_names

SAMPLED = 1024
"""The most elements that are kept of a parameter or buffer, evenly chosen, beside its digest."""


@dataclass(frozen=True)
class Held:
    """A parameter or buffer before the call, or a gradient: its numbers, as far as they are kept.

    Of a parameter `kept` is the digest, and `sample` has some of its elements; all of them if these are few.
    """

    kept: Kept
    sample: Kept | None = None


@dataclass(frozen=True)
class KeptValues:
    """All that was kept of a call, by ids and by names.

    `sides` has the tensors that went into every call and came out, `backward` the gradients that came to those that
    came out, `state` the parameters and buffers before the call, `gradients` those of the parameters after backward.
    """

    sides: Mapping[int, Sides]
    backward: Mapping[int, tuple[Kept | None, ...]] = field(default_factory=dict)
    state: Mapping[str, Held] = field(default_factory=dict)
    gradients: Mapping[str, Held] = field(default_factory=dict)

    def followed_by(self, later: KeptValues, start: int) -> KeptValues:
        """The values of this call and of a later one of the same root, whose ids are counted on from `start`."""
        return KeptValues(
            {**self.sides, **{id + start: sides for id, sides in later.sides.items()}},
            {**self.backward, **{id + start: kept for id, kept in later.backward.items()}},
            self.state or later.state,
            {**self.gradients, **later.gradients},
        )


class TrainingKeeper(Keeper):
    """Keeps the numbers of every call, with fingerprints, and those of the training step that the call is part of."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, fingerprints=True)
        self._state: dict[str, Held] = {}
        self._gradients: dict[str, Held] = {}
        self._backward: dict[OpenCall, list[Kept | None]] = {}
        self._backward_by_id: dict[int, tuple[Kept | None, ...]] = {}
        self._hooks: list[Any] = []
        self._awaited: nn.Module | None = None

    @property
    def values(self) -> KeptValues:
        """All that was kept; of calls only when the recording has ended."""
        return KeptValues(self.by_id, self._backward_by_id, self._state, self._gradients)

    def keep_state(self, model: nn.Module) -> None:
        """Keep what every parameter and buffer is now: its digest, and some of its elements.

        DDP sends the buffers of one rank to the others before it calls what it wraps: then they are kept.
        """
        if type(model).__name__ == "DistributedDataParallel" and self._awaited is None:
            self._awaited = model
            return
        for name, tensor in (*parameters_and_names(model), *buffers_and_names(model)):
            held = _fingerprint(tensor)
            if held is not None:
                self._state[name] = held

    def keep_gradients(self, model: nn.Module) -> None:
        """Keep what is in the `grad` of every parameter now."""
        for name, parameter in parameters_and_names(model):
            if parameter.grad is not None:
                kept = self._new(parameter.grad)
                if kept is not None:
                    self._gradients[name] = Held(kept)

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """Keep what goes into a call."""
        if self._awaited is not None and type(call) is OpenCall and call.parent is not None:
            self.keep_state(self._awaited)
            self._awaited = None
        super().begins(call, args, kwargs)

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """Keep what comes out of a call, and have the gradient of it kept when backward comes there."""
        super().ends(call, output)
        if type(call) is not OpenCall:
            return
        with Unseen():
            outputs = unseen_tensors_of(output)
            places = [(place, tensor.grad_fn, tensor.output_nr) for place, tensor in enumerate(outputs)]
        gradients: list[Kept | None] = [None] * len(places)
        for place, node, number in places:
            if node is not None:
                self._backward[call] = gradients
                self._hooks.append(node.register_prehook(self._keeps(gradients, place, number)))

    def stop(self) -> None:
        """Keep no more, and take the hooks out of the graph."""
        super().stop()
        while self._hooks:
            self._hooks.pop().remove()
        self._backward.clear()

    def number(self, ids: Mapping[Any, int]) -> None:
        """File what was kept under the ids that the calls have in the finished trace."""
        super().number(ids)
        self._backward_by_id = {
            ids[call]: tuple(gradients)
            for call, gradients in self._backward.items()
            if call in ids and any(gradient is not None for gradient in gradients)
        }

    def _keeps(self, gradients: list[Kept | None], place: int, number: int) -> Callable[[Any], None]:
        """A pre-hook for the node that made an output: the gradient of that output is what comes to it there."""

        def keep(coming: Any) -> None:
            gradient = coming[number] if number < len(coming) else None
            if isinstance(gradient, Tensor):
                gradients[place] = self._kept(gradient)

        return keep


def _fingerprint(tensor: Tensor) -> Held | None:
    try:
        with Unseen():
            if isinstance(tensor, nn.UninitializedParameter) or not has_values(tensor):
                return None
            local, place = part_here(tensor).detach(), placed_as(tensor)
            kept = Kept(tuple(local.shape), local.dtype, None, digest_of(local), placed=place)
            sample = _sample(local) if place is None else _sample_of_part(local, place)
            return Held(kept, Kept((len(sample),), sample.dtype, sample, digest_of(sample)))
    except (RuntimeError, NotImplementedError):  # a layout or subclass that does not copy: nothing is known of it
        return None


def _sample(tensor: Tensor) -> Tensor:
    flat = tensor.reshape(-1)
    return flat[:: _step(len(flat))].clone()


def _sample_of_part(part: Tensor, place: Placed) -> Tensor:
    """The elements of a part that are in the sample of the whole; a sample of the part where that is not known."""
    if place.offset is None:
        return _sample(part)
    total = math.prod(place.shape)
    rest = torch.arange(0, total, _step(total))
    here, at, stride = torch.ones_like(rest, dtype=torch.bool), torch.zeros_like(rest), 1
    for size, begin, own in zip(*map(reversed, (place.shape, place.offset, part.shape)), strict=True):
        inside = rest % size - begin
        here &= (inside >= 0) & (inside < own)
        at += inside * stride
        rest, stride = rest // size, stride * own
    return part.reshape(-1)[at[here].to(part.device)].clone()


def _step(elements: int) -> int:
    """The distance from one element of the sample to the next."""
    return max(1, -(-elements // SAMPLED))
