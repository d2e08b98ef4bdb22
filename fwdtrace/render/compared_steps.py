"""The calls of two programs as a table: how far apart each is in its weights, its forward and its backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdtrace.compare.comparison import ComparedStep
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.render.lines import Line
from fwdtrace.trace.text import plural

MOST_STEPS = 12


def steps_lines(steps: Sequence[ComparedStep]) -> Iterator[Line]:
    """A line for each call, the first ones and the last if there are many; the distances are relative."""
    if not steps:
        return
    yield []
    yield [(f"  {'call':>6}  {'inputs':<8}{'weights before':<22}{'forward':<14}backward", "bold")]
    shown = steps if len(steps) <= MOST_STEPS else steps[: MOST_STEPS - 1]
    for step in shown:
        yield _line(step)
    if len(shown) < len(steps):
        yield [(f"  … {plural(len(steps) - len(shown) - 1, 'call')}", "dim")]
        yield _line(steps[-1])


def step_cells(step: ComparedStep) -> tuple[str, str, str, str, str]:
    """The number of a call, or of both where it is another in the second, and how far apart each part is."""
    number = f"{step.call:,}" if step.call == step.other else f"{step.call:,}/{step.other:,}"
    inputs = "—" if step.inputs_agree is None else "same" if step.inputs_agree else "other"
    weights = "—" if step.weights is None else "same"
    if step.weights:
        weights = f"{len(step.weights):,}"
        if step.weights_apart is None or step.weights_apart.absolute != 0:  # else they differ beyond the sample
            weights += f" by {_distance(step.weights_apart)}"
    return number, inputs, weights, _distance(step.forward), _distance(step.backward)


def _line(step: ComparedStep) -> Line:
    number, inputs, weights, forward, backward = step_cells(step)
    return [(f"  {number:>6}  {inputs:<8}{weights:<22}{forward:<14}{backward}", "")]


def _distance(apart: Distance | None) -> str:
    if apart is None:
        return "—"
    if apart.same:
        return "same"
    return "not finite" if apart.absolute is None else f"{apart.relative or apart.absolute:.2g}"
