"""How large the numbers are that each module of a model gave in a call."""

from __future__ import annotations

from fwdtrace.trace.info import Magnitude
from fwdtrace.trace.trace import Trace
from fwdtrace.trace.values import TensorMeta


def largest_magnitudes(trace: Trace) -> tuple[Magnitude, ...]:
    """For each module that ran, in order of its first call, the largest absolute value in what it gave.

    Nothing of modules whose outputs have no statistics; a value is None where NaN or an infinity was given too.
    """
    found: dict[str, float | None] = {}
    for call in trace.calls:
        for leaf in call.outputs:
            stats = leaf.stats if isinstance(leaf, TensorMeta) else None
            if stats is None or call.path is None:
                continue
            before = found.setdefault(call.path, 0.0)
            if stats.nan or stats.inf:
                found[call.path] = None
            elif before is not None and stats.min is not None and stats.max is not None:
                found[call.path] = max(before, abs(stats.min), abs(stats.max))
    return tuple(Magnitude(path, value) for path, value in found.items())
