"""What share of its elements a dropout layer drops, told by what it has kept: they are larger by as much."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.compare.programs.saved_numbers import Values
from fwdtrace.trace import Call

_ALIKE = 0.01
"""By how much the factors of what is kept may be apart, which is more than bfloat16 rounds."""


def said_of_dropped(before: Values, call: Call, after: Values, other: Call) -> Iterator[str]:
    """That a dropout layer drops another share in the second run, if it does."""
    if "Dropout" in call.class_name and "Dropout" in other.class_name:
        ours, theirs = _share_dropped(before, call), _share_dropped(after, other)
        if ours is not None and theirs is not None and abs(ours - theirs) > _ALIKE:
            yield f"it drops {ours:.2g} of the elements in the first, {theirs:.2g} in the second"


def _share_dropped(values: Values, call: Call) -> float | None:
    sides = values.side(call, "inputs"), values.side(call, "outputs")
    if any(len(side) != 1 or side[0] is None for side in sides):
        return None
    given, gave = (values.array(side[0]) for side in sides if side[0] is not None)
    if given is None or gave is None or len(given) != len(gave):
        return None
    kept = (given != 0) & (gave != 0)
    factors = gave[kept].astype("f8") / given[kept].astype("f8")
    if not len(factors) or not 1 <= (mean := float(factors.mean())) < float("inf"):
        return None
    return 1 - 1 / mean if float(abs(factors - mean).max()) <= _ALIKE * mean else None
