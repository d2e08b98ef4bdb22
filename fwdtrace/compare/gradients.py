"""The gradients of two traces -> each Difference: another norm, or one that is there on one side only."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.compare.difference import Difference, Severity
from fwdtrace.compare.numbers.tolerances import is_rounding
from fwdtrace.trace import Gradient, Trace
from fwdtrace.trace.text import shape_text

_DTYPES = ("float32", "float32")
"""A gradient has no dtype in a trace; most are of this one."""


def differences_in_gradients(before: Trace, after: Trace, *, exact: bool) -> Iterator[Difference]:
    """The parameters whose gradients are not alike, if both traces have gradients; with `exact`, to the last bit."""
    if before.gradients is None or after.gradients is None:
        return
    ours, theirs = ({gradient.name: gradient for gradient in trace.gradients or ()} for trace in (before, after))
    largest = max((each.norm or 0.0 for each in (*ours.values(), *theirs.values())), default=0.0)
    for name in dict.fromkeys([*ours, *theirs]):
        one, two = ours.get(name), theirs.get(name)
        severity = _severity(one, two, largest)
        if one != two and (exact or severity != "rounding"):
            before_text, after_text = _in_words(one), _in_words(two)
            message = f"{name}: gradient {before_text} became {after_text}"
            yield Difference("gradient", severity, name, before_text, after_text, message)


def _severity(one: Gradient | None, two: Gradient | None, largest: float) -> Severity:
    """How severe a difference is; of gradients that are nothing beside the largest, rounding is all there is."""
    if one is None or two is None or one.norm is None or two.norm is None:
        return "gradients"
    if (one.shape, one.requires_grad, one.nan, one.inf) != (two.shape, two.requires_grad, two.nan, two.inf):
        return "gradients"
    return "rounding" if is_rounding(abs(one.norm - two.norm), largest, _DTYPES) else "gradients"


def _in_words(gradient: Gradient | None) -> str:
    if gradient is None:
        return "of no such parameter"
    text = "none" if gradient.norm is None else f"of norm {gradient.norm:.9g}"
    if gradient.nan or gradient.inf:
        text += f" with {gradient.nan:,} NaN and {gradient.inf:,} infinite"
    return f"{text} ({shape_text(gradient.shape)}{'' if gradient.requires_grad else ', does not require one'})"
