"""The numbers that were measured of a call or op, one for each key: times, operations, memory, statistics, norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from fwdtrace.render.totals import output_bytes
from fwdtrace.trace import Call, Event, Stats, TensorMeta, Trace, tensors_in

Key = Literal["time", "self", "flops", "memory", "mean", "std", "min", "max", "nan", "grad"]

KEYS: tuple[Key, ...] = get_args(Key)
STATISTICS: tuple[Key, ...] = ("mean", "std", "min", "max")

NO_GRADIENT = -1.0
"""Stands for the norm of the gradient of a module that should have one and has none."""

BAR = 4
"""The cells of the longest bar; each stands for a factor of ten."""


class Numbers:
    """The numbers of one trace, worked out once where they take more than one call."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._inside: dict[int, float] = {}
        for call in trace.calls:
            if call.parent is not None:
                self._inside[call.parent] = self._inside.get(call.parent, 0.0) + (call.duration_us or 0.0)
        self._norms = _norms(trace)
        self._largest = max(filter(math.isfinite, self._norms.values()), default=0.0)

    def of(self, event: Event, key: Key) -> float | None:
        """The number, None if it was not measured: times in microseconds, memory in bytes.

        Statistics are those of the first output that has them; `nan` counts NaN and infinities in all outputs. Memory
        is the peak on an accelerator, else what the call returned.
        """
        if key == "nan":
            return _not_finite(event)
        if key in STATISTICS:
            stats = _statistics(event)
            number: float | None = None if stats is None else getattr(stats, key)
            return number
        return self._of_a_call(event, key) if isinstance(event, Call) else None

    def bar(self, norm: float) -> str:
        """A bar that is a cell shorter for each factor of ten by which the norm is below the largest one."""
        if norm <= 0 or not math.isfinite(norm):
            return ""
        return "█" * max(BAR - int(math.log10(max(self._largest, norm) / norm)), 1)

    def measured(self) -> list[Key]:
        """The keys of what was asked to be measured, as far as it gave numbers; every run has times."""
        events = self._trace.events
        keys = [
            key
            for key in ("flops", "memory_bytes")
            if any(getattr(call, key) is not None for call in self._trace.calls)
        ]
        found: list[Key] = ["time"] if self._trace.run.repeat else []
        found += ["memory" if key == "memory_bytes" else "flops" for key in keys]
        if any(_statistics(event) for event in events):
            found += STATISTICS
        if any(map(_not_finite, events)):
            found.append("nan")
        if self._norms:
            found.append("grad")
        return found

    def _of_a_call(self, call: Call, key: Key) -> float | None:
        if key == "time":
            return call.duration_us
        if key == "self":
            inside = self._inside.get(call.id, 0.0)
            return None if call.duration_us is None else max(call.duration_us - inside, 0.0)
        if key == "flops":
            return call.flops
        if key == "memory":
            return output_bytes(call) if call.memory_bytes is None else call.memory_bytes
        return None if call.path is None else self._norms.get(call.path)


def _statistics(event: Event) -> Stats | None:
    """The statistics of the first output that has any finite element, or else of the first that has them at all."""
    measured: Sequence[Stats] = [leaf.stats for leaf in tensors_in(event.outputs) if leaf.stats is not None]
    return next((stats for stats in measured if stats.mean is not None), measured[0] if measured else None)


def _not_finite(event: Event) -> int | None:
    """How many elements of the outputs are NaN or infinite, None if that was not looked for or there are none."""
    if event.nonfinite is not None:
        return event.nonfinite.nan + event.nonfinite.inf
    number = 0
    for leaf in event.outputs:
        if isinstance(leaf, TensorMeta) and leaf.stats is not None:
            number += leaf.stats.nan + leaf.stats.inf
    return number or None


def _norms(trace: Trace) -> dict[str, float]:
    """For every module that has parameters, in it or below, the norm of their gradients; NaN if one is not finite.

    A module all of whose parameters are frozen has none. Nothing at all if no parameter has a gradient.
    """
    squares: dict[str, float | None] = {}
    for gradient in trace.gradients or ():
        if not gradient.requires_grad:
            continue
        square = math.nan if gradient.nan or gradient.inf else None if gradient.norm is None else gradient.norm**2
        module = gradient.name
        while module:
            module = module.rpartition(".")[0]
            so_far = squares.get(module)
            squares[module] = so_far if square is None else square if so_far is None else so_far + square
    if all(square is None for square in squares.values()):
        return {}
    return {module: NO_GRADIENT if square is None else math.sqrt(square) for module, square in squares.items()}
