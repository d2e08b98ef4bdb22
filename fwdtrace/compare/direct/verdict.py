"""The verdict on a direct call in one sentence, and the fix. Free of torch."""

from __future__ import annotations

from fwdtrace.compare.difference import Difference
from fwdtrace.compare.direct.comparison import ACT_IN_FORWARD, CHANGED_WEIGHTS, Carried, Experiment, most_telling
from fwdtrace.trace import Hook
from fwdtrace.trace.mechanisms import Mechanism, mechanism_of, short_name
from fwdtrace.trace.text import first_few, plural

NO_REMEDY = ("", "call the module itself")
MOST_NAMES = 3


def call_of(target: str) -> str:
    """How the module at a path is called: `model(x)`, `f5(x)`."""
    return f"{_expression(target)}(x)"


def direct_call_of(target: str) -> str:
    """How it is run directly: `model.forward(x)`, `f5.forward(x)`."""
    return f"{_expression(target)}.forward(x)"


def verdict_of(
    differences: tuple[Difference, ...], experiments: tuple[Experiment, ...], inventory: tuple[Carried, ...]
) -> str:
    """What the experiment says, in one sentence."""
    if not differences:
        return _no_difference(experiments)
    targets = list(dict.fromkeys(difference.target or "" for difference in differences))
    target = differences[0].target or ""
    mine = [difference for difference in differences if (difference.target or "") == target]
    most = most_telling(mine)
    worst = most[0]
    experiment = next(experiment for experiment in experiments if experiment.target == target)
    entry, call = experiment.entry, experiment.call
    claims = {
        "numbers": f"{entry} does not compute what {call} computes",
        "gradients": f"{entry} does not train what {call} trains",
        "exception": f"{entry} fails where {call} works",
        "rounding": f"{entry} computes the same as {call} up to rounding",
        "cost": f"{entry} computes the same as {call} at another cost",
        "observation": f"{entry} computes the same as {call}, unobserved",
    }
    evidence = "; ".join(f"{difference.message}{_when(difference)}" for difference in most)
    others = len(targets) - 1
    hooks = sum(difference.kind == "hook" for difference in mine)
    if worst.severity == "observation" and hooks > 1:
        evidence += f", and {plural(hooks - 1, 'more hook')} likewise"
    more = "" if not others else f" ({plural(others, 'other module')} differ{'s' * (others == 1)} too)"
    return f"{claims[worst.severity]}{_because(target, inventory)}: {evidence}{more}."


def fix_of(
    differences: tuple[Difference, ...], experiments: tuple[Experiment, ...], inventory: tuple[Carried, ...]
) -> str:
    """What to do about it; "" if nothing differs."""
    if not differences:
        return ""
    targets = list(dict.fromkeys(difference.target or "" for difference in differences))
    entries = {experiment.target: f"{experiment.call} instead of {experiment.entry}" for experiment in experiments}
    remedies = list(
        dict.fromkeys(
            mechanism.remedy
            for item in inventory
            if item.path in targets and (mechanism := _mechanism(item)) and mechanism.remedy not in NO_REMEDY
        )
    )
    calls = first_few([entries[target] for target in targets], MOST_NAMES)
    return "; ".join([f"write {calls}", *remedies])


def _no_difference(experiments: tuple[Experiment, ...]) -> str:
    reached = [experiment for experiment in experiments if experiment.reached and experiment.rounds]
    if not reached:
        return "Nothing to compare: the model never calls what was to be run directly."
    modes = list(dict.fromkeys(ran.mode for experiment in reached for ran in experiment.rounds))
    rounds = len(reached[0].rounds)
    if len(reached) == 1:
        entries = f"{reached[0].entry} and {reached[0].call}"
    else:
        entries = f"calling and running directly each of {len(reached)} modules"
    return (
        f"No difference found: in {plural(rounds, 'round')} ({' and '.join(modes)} mode) {entries} gave bit-identical "
        "outputs, gradients, buffers and random states, and no hook was lost."
    )


def _expression(target: str) -> str:
    if not target:
        return "model"
    return f"model.{target}" if target[0].isdigit() else target


def _when(difference: Difference) -> str:
    if difference.round is None:
        return ""
    when = {CHANGED_WEIGHTS: "after the weights were changed in place"}.get(difference.round, difference.round)
    return f" ({when}, {difference.mode} mode)"


def _because(target: str, inventory: tuple[Carried, ...]) -> str:
    names = dict.fromkeys(
        mechanism.name if (mechanism := _mechanism(item)) else short_name(item.name)
        for item in inventory
        if item.path == target and item.kind not in ACT_IN_FORWARD
    )
    shown = [*list(names)[:MOST_NAMES], *(["more"] if len(names) > MOST_NAMES else [])]
    return f", as it skips {' and '.join(shown)}" if shown else ""


def _mechanism(item: Carried) -> Mechanism | None:
    return mechanism_of(Hook(item.kind, item.name, fired=False))
