"""Where the path of a gradient through the calls of a trace can be broken, as far as `requires_grad` shows it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TypeVar

from fwdtrace.trace import Call, Leaf, TensorMeta, Trace
from fwdtrace.trace.values import Event, Shape, tensors_in

E = TypeVar("E", Call, Event)

_DIFFERENTIABLE = ("float", "bfloat", "complex")


def requires_gradient(leaves: tuple[Leaf, ...]) -> bool:
    """Whether one of the tensors requires a gradient."""
    return any(isinstance(leaf, TensorMeta) and leaf.requires_grad for leaf in leaves)


@dataclass
class _Made:
    """What the calls and ops that one call made do to gradients, in order of beginning.

    `cuts` took a gradient and gave numbers without one. `takers` are the calls that took no gradient, by the shape and
    dtype of what they took. `gives_gradient` says whether one of the calls gave a gradient.
    """

    cuts: list[Event] = field(default_factory=list)
    takers: dict[tuple[Shape, str], list[Call]] = field(default_factory=lambda: defaultdict(list))
    gives_gradient: bool = False


class Flow:
    """Answers where the result of a call loses its gradient; looks at the calls and ops of each caller only once."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._made: dict[int | None, _Made] = {}

    def outermost_without_gradient(self, call: Call) -> Call:
        """The outermost call around this one such that nothing returned in its caller requires a gradient either."""
        for caller in self.trace.callers(call):
            if requires_gradient(caller.outputs) or self._made_by(caller).gives_gradient:
                return call
            call = caller
        return call

    def cut_after(self, call: Call) -> Event | None:
        """The first event after `call`, made by the same caller, that took a gradient and gave numbers without one."""
        return _first_after(call, self._made_by(self.trace.caller(call)).cuts)

    def taker_of_detached(self, call: Call) -> Call | None:
        """The first later call by the same caller that took a tensor like a result of `call`, without a gradient."""
        takers = self._made_by(self.trace.caller(call)).takers
        results = {(tensor.shape, tensor.dtype) for tensor in tensors_in(call.outputs) if tensor.requires_grad}
        first_takers = (_first_after(call, takers[result]) for result in results if result in takers)
        return min(filter(None, first_takers), key=lambda taker: taker.id, default=None)

    def _made_by(self, caller: Call | None) -> _Made:
        key = caller.id if caller is not None else None
        if key not in self._made:
            self._made[key] = self._look_at(self.trace.made_by(caller))
        return self._made[key]

    def _look_at(self, events: tuple[Event, ...]) -> _Made:
        made = _Made()
        for event in events:
            takes, gives = requires_gradient(event.inputs), requires_gradient(event.outputs)
            if takes and not gives and any(t.dtype.startswith(_DIFFERENTIABLE) for t in tensors_in(event.outputs)):
                made.cuts.append(event)
            if isinstance(event, Call):
                made.gives_gradient = made.gives_gradient or gives
                for tensor in () if takes else tensors_in(event.inputs):
                    made.takers[tensor.shape, tensor.dtype].append(event)
        return made


def _first_after(call: Call, events: list[E]) -> E | None:
    """The first of these events, which are in order of beginning, that began after the call."""
    index = bisect_right(events, call.id, key=lambda event: event.id)
    return events[index] if index < len(events) else None
