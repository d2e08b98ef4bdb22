"""Why all gradients of a step differ: scaled, added to those of the call before, or changed after backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fwdtrace.compare.align import Pair
from fwdtrace.compare.programs.saved_backward import SavedRun, one_factor

_FAR = 1e-3
"""How far a number may be from the one that it should be, relative to the largest, if nothing is wrong with it."""


def said_of_gradients(
    one: SavedRun, two: SavedRun, pairs: Sequence[Pair], before: tuple[SavedRun, SavedRun] | None
) -> str | None:
    """What explains that the gradients of two runs differ, in words; `before` is the call before, if it is known."""
    same_flow = _what_came_is_the_same(one, two, pairs)
    if same_flow and before is not None and _holds_earlier(one, two, before):
        call = before[0].trace.run.call or 1
        return f"the gradients of call {call} are still in those of one run: it did not set them to zero"
    factor = factor_of(one, two)
    if factor is not None:
        scaled = f"all gradients of parameters are {factor:.4g} times those of the first"
        if not same_flow:
            return f"{scaled}: the loss is scaled so"
        return f"{scaled}, while those that came to each call agree: they were scaled after backward, as clipping does"
    if same_flow:
        return "the gradients that came to each call agree: they part in the module's own backward or after backward"
    return None


def _what_came_is_the_same(one: SavedRun, two: SavedRun, pairs: Sequence[Pair]) -> bool:
    """Whether the gradients that came to the outputs of all calls are bit-identical, of which there are some."""
    some = False
    for call, other in pairs:
        ours, theirs = one.step.backward.get(call.id), two.step.backward.get(other.id)
        for a, b in zip(ours or [], theirs or [], strict=False):
            if a is None or b is None:
                continue
            if one.values.about(a)["digest"] != two.values.about(b)["digest"]:
                return False
            some = True
    return some


def _holds_earlier(one: SavedRun, two: SavedRun, before: tuple[SavedRun, SavedRun]) -> bool:
    """Whether what one run has more is what it had after the call before."""
    found = False
    for name, ours, theirs in _both(one, two):
        for more, less, earlier in ((theirs, ours, before[1]), (ours, theirs, before[0])):
            held = earlier.step.gradients.get(name)
            had = earlier.values.array(held.tensor) if held is not None else None
            if had is None or had.shape != less.shape:
                continue
            largest = float(abs(had).max(initial=0.0))
            if largest and float(abs(more - less - had).max()) <= _FAR * largest:
                found = True
                break
        else:
            if float(abs(ours - theirs).max(initial=0.0)):
                return False
    return found


def factor_of(one: SavedRun, two: SavedRun) -> float | None:
    """The one number that all gradients of the first are multiplied by in the second, if there is one but 1."""
    return one_factor(((ours, theirs) for _, ours, theirs in _both(one, two)), _FAR)


def _both(one: SavedRun, two: SavedRun) -> Iterator[tuple[str, Any, Any]]:
    """The gradients that both have, whole, of one shape and finite."""
    import numpy

    for name, held in one.step.gradients.items():
        if name not in two.step.gradients:
            continue
        ours, theirs = one.values.array(held.tensor), two.values.array(two.step.gradients[name].tensor)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            continue
        ours, theirs = ours.astype("f8"), theirs.astype("f8")
        if numpy.isfinite(ours).all() and numpy.isfinite(theirs).all():
            yield name, ours, theirs
