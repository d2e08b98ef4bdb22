"""The verdict on one call of two programs, in which the weights, the forward and the backward are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fwdtrace.compare.around import Around
from fwdtrace.compare.comparison import ComparedStep, Origin, TraceComparison
from fwdtrace.compare.difference import Difference
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.compare.programs.saved_backward import BackwardCompared
from fwdtrace.trace import Trace
from fwdtrace.trace.text import listed, path_text, plural

WRONG = ("numbers", "gradients", "exception")
"""The severities of what is more than rounding."""


class WeightsApart(Protocol):
    """The parameters and buffers that were apart before a call, of how many."""

    @property
    def apart(self) -> tuple[tuple[str, Distance], ...]:
        """How far each of them was apart, by its name."""

    @property
    def of(self) -> int:
        """How many there are."""


@dataclass(frozen=True)
class OneStep:
    """One call of two programs: all that was compared of it, and the calls before, which are the same.

    `forward` is the comparison of its traces, and `forward_differs` whether that found anything but gradients. `reason`
    explains, if anything does, that the gradients differ. `optimizer` is what was set otherwise in the optimizer that
    stepped before the call.
    """

    first: Trace
    second: Trace
    weights: WeightsApart | None
    forward: TraceComparison
    forward_differs: bool
    backward: BackwardCompared | None
    before: tuple[ComparedStep, ...]
    reason: str | None = None
    optimizer: tuple[Around, ...] = ()


def program_verdict(step: OneStep, differences: Sequence[Difference]) -> str:
    """What the comparison says, in a few sentences."""
    number = step.first.run.call or 1
    agree = _agree(step.before)
    if step.weights is not None and step.weights.apart:
        return agree + _weights(step, step.weights, number)
    at = f"Call {number}: " if step.before else ""
    if step.forward_differs:
        return f"{agree}{at}{step.forward.verdict}{_how_far(step, differences)}"
    if step.backward is not None and step.backward.origin is not None:
        others = sum(each.kind not in ("gradient", "output gradient") for each in differences)
        otherwise = f" (with {plural(others, 'difference')} in what runs)" if others else ""
        parts = _parts(step.backward.origin) + (f"; {step.reason}" if step.reason else "")
        return f"{agree}{at}Forward agrees bit for bit{otherwise}; backward parts at {parts}."
    if differences or step.backward is None:
        return agree + at + step.forward.verdict
    calls = f"{plural(len(step.before) + 1, 'call')} of the model" if step.before else "the call of the model"
    weights = "weights, " if step.weights is not None else ""
    bits = "bit-identical" if step.backward.furthest is None or step.backward.furthest.same else "equal within rounding"
    return f"No difference found: {weights}forward and backward of {calls} are {bits}."


BEYOND_SAMPLE = "in elements that are not among those sampled of it, so it is not known how far"
"""What is said of a tensor whose digest is another, though its sample of elements is the same."""


def far(distance: Distance) -> str:
    """A distance in few words: `up to 0.031 of the largest element`."""
    if distance.absolute is None:
        return "finite or there on one side only"
    if distance.relative is None:
        return f"up to {distance.absolute:.2g}"
    return f"up to {distance.relative:.2g} of the largest element"


def _parts(origin: Origin) -> str:
    where = f"{path_text(origin.path)} ({origin.class_name})" if origin.class_name else path_text(origin.path)
    return f"{where}: {'; '.join(origin.why)}"


def _agree(before: Sequence[ComparedStep]) -> str:
    if not before:
        return ""
    numbers = [f"{step.call:,}" for step in before]
    return f"Call {numbers[0]} agrees. " if len(numbers) == 1 else f"Calls {listed(numbers)} agree. "


def _weights(step: OneStep, weights: WeightsApart, number: int) -> str:
    """That the weights differ before the call, and what that says of what came before."""
    measured = [each for each in weights.apart if each[1].absolute != 0]
    name, apart = (measured or weights.apart)[0]
    rounding = ", by rounding alone" if measured and all(each.close for _, each in measured) else ""
    how_far = BEYOND_SAMPLE if apart.absolute == 0 else far(apart)
    first = f"first {name}" if len(weights.apart) > 1 else name
    which = f"{len(weights.apart)} of {weights.of} parameters and buffers, {first} ({how_far})"
    if step.before and step.before[-1].call == number - 1:
        between = f"part{rounding}, between call {number - 1} and call {number}"
        trained = {each.name for each in step.first.gradients or ()}
        if trained and not any(name in trained for name, _ in weights.apart):
            return f"Then buffers {between}, and no parameter does: {which}."
        return f"Then the weights {between}, where the optimizer steps: {which}.{_optimizer(step)}"
    return f"The weights differ before call {number} already{rounding}: {which}."


def _optimizer(step: OneStep) -> str:
    """What was set otherwise in the optimizers that stepped."""
    return f" There, {'; '.join(each.text for each in step.optimizer)}." if step.optimizer else ""


def _how_far(step: OneStep, differences: Sequence[Difference]) -> str:
    """That all of it is rounding, if it is, and how the backward is."""
    backward = step.backward
    if any(difference.severity in WRONG for difference in differences):
        wrong_forward = any(each.severity in WRONG and each.kind != "gradient" for each in step.forward.differences)
        if backward is not None and backward.origin is not None and not wrong_forward:
            return f" Forward is apart by rounding alone; backward parts by more, at {_parts(backward.origin)}."
        return ""
    if not any(difference.severity == "rounding" for difference in differences):
        return ""
    most = [pair.apart for pair in step.forward.growth][-1:]
    end = f", {far(most[0])} in the end" if most else ""
    gradients = f", and so is backward, {far(backward.furthest)}" if backward and backward.furthest else ""
    return f" All of it is rounding{end}{gradients}.{_other_ops(step, differences)}"


def _other_ops(step: OneStep, differences: Sequence[Difference]) -> str:
    """That other ops run elsewhere than where the runs part, which rounding would hide."""
    at = step.forward.origin.path if step.forward.origin is not None else None
    paths = list(dict.fromkeys(each.path for each in differences if each.kind == "ops" and each.path != at))
    if not paths or (step.forward.origin is not None and step.forward.origin.op is not None):
        return ""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f" Other ops run in {path_text(paths[0])}{more}."
