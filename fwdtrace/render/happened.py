"""Why a call of a program was kept, how it was run again, and the last steps before it, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fwdtrace.render.growth import Series, growth_lines, growth_svg, most_grown
from fwdtrace.render.words import duration
from fwdtrace.trace import Trace
from fwdtrace.trace.info import RunInfo
from fwdtrace.trace.magnitudes import largest_magnitudes
from fwdtrace.trace.text import listed

MOST_SHOWN = 10
EVENTS = {"error": "raised", "nonfinite": "not finite", "signal": "asked for", "slow": "slow"}


def happened_lines(run: RunInfo) -> Iterator[str]:
    """What happened in a call that was kept for it; nothing of one that was chosen."""
    if run.event is None or run.event == "error":  # of which the line above the tree tells
        return
    step = f" in step {run.step:,}" if run.step is not None else ""
    yield f"{EVENTS.get(run.event, run.event)}{step}; {replay_text(run)}"
    yield from steps_lines(run)


def steps_lines(run: RunInfo) -> list[str]:
    """The norm of the gradients in the last steps and the learning rate; none if there was no step."""
    if not run.last_steps:
        return []
    numbers = [step.number for step in run.last_steps]
    norms = ["not finite" if step.gradient_norm is None else f"{step.gradient_norm:.3g}" for step in run.last_steps]
    rates = [listed([f"{rate:.3g}" for rate in step.learning_rates]) for step in run.last_steps]
    rate = f", learning rate {' → '.join(dict.fromkeys([rates[0], rates[-1]]))}" if all(rates) else ""
    steps = f"step {numbers[0]:,}" if len(numbers) == 1 else f"steps {span(numbers)}"
    lines = [f"{steps}: gradient norm {', '.join(norms)}{rate}"]
    for name in dict.fromkeys(each.name for step in run.last_steps for each in step.outputs):
        outputs = [each for step in run.last_steps for each in step.outputs if each.name == name][-MOST_SHOWN:]
        values = ["not finite" if each.value is None else f"{each.value:.4g}" for each in outputs]
        calls = f"calls {span([each.call for each in outputs])}" if len(outputs) > 1 else f"call {outputs[0].call:,}"
        lines.append(f"{calls}: {name.lstrip('.') or 'output'} {', '.join(values)}")
    return lines


def replay_text(run: RunInfo) -> str:
    """How like the first time the call ran when it was run again, or how much longer than usual it took."""
    if run.first_us is not None and run.usual_us:
        usual = f"{run.first_us / run.usual_us:.1f} × the usual {duration(run.usual_us)}"
        return f"it took {duration(run.first_us)}, {usual}; run once more to be seen"
    if run.replay == "exact":
        return "run once more, bit for bit as at first"
    if run.replay is None:
        return f"not run again: {run.replay_reason}" if run.replay_reason else "recorded as it ran"
    return f"run once more, but not as at first: {run.replay_reason}"


def span(numbers: list[int]) -> str:
    """Numbers as a span, if they are one: `4 to 9`; else a list of them."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]:,} to {numbers[-1]:,}"
    return listed([f"{number:,}" for number in numbers])


def magnitude_lines(trace: Trace, width: int) -> list[str]:
    """How the largest outputs of the modules that grew most did so, where earlier calls were recorded too."""
    numbers = [each.call for each in trace.run.earlier]
    if not numbers:
        return []
    title = f"largest output in call{'s' if len(numbers) > 1 else ''} {span(numbers)}, then in this call"
    return list(growth_lines(title, most_grown(_magnitudes(trace)), width))


def charts(trace: Trace) -> list[str]:
    """What grew before a call, as charts: norm of the gradients and losses by step, and magnitudes by call."""
    found = []
    run = trace.run
    if len(run.last_steps) > 1:
        norms = tuple(math.inf if step.gradient_norm is None else step.gradient_norm for step in run.last_steps)
        labels = [f"step {step.number:,}" for step in run.last_steps]
        found.append(growth_svg("gradient norm by step", labels, [Series("gradient norm", norms)]))
    if run.earlier:
        labels = [*(f"call {each.call:,}" for each in run.earlier), "this call"]
        found.append(growth_svg("largest output of each module by call", labels, most_grown(_magnitudes(trace))))
    return found


def _magnitudes(trace: Trace) -> list[Series]:
    """The largest magnitude of each module in the earlier calls and in this call, in the order of this call."""
    calls = [each.largest for each in trace.run.earlier] + [largest_magnitudes(trace)]
    by_path = [{each.path: math.inf if each.value is None else each.value for each in largest} for largest in calls]
    paths = dict.fromkeys([*by_path[-1], *(path for largest in by_path for path in largest)])
    name = trace.model.class_name.rpartition(".")[2]
    return [Series(path or name, tuple(largest.get(path) for largest in by_path)) for path in paths]
