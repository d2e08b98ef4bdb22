"""`compare_direct`: a model called and run directly, on equal copies and in several rounds, compared bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from fwdtrace.compare.difference import Difference, worst_first
from fwdtrace.compare.direct.comparison import (
    CHANGED_WEIGHTS,
    FIRST_STEP,
    SECOND_STEP,
    Carried,
    DirectComparison,
    Experiment,
    Fired,
    Round,
)
from fwdtrace.compare.direct.copies import Build, copies_of
from fwdtrace.compare.direct.differences import differences_of
from fwdtrace.compare.direct.enter import Enter, enter_by_call, enter_directly
from fwdtrace.compare.direct.inventory import inventory_of
from fwdtrace.compare.direct.measurements import measurements_of
from fwdtrace.compare.direct.seen import (
    BACKWARD_PROBES,
    FORWARD_PROBES,
    differences_seen,
    fired_on_both,
    observed,
    probed,
)
from fwdtrace.compare.direct.step import Snapshot, change_weights, forward_only, step, update_weights
from fwdtrace.compare.direct.verdict import call_of, direct_call_of, fix_of, verdict_of
from fwdtrace.errors import FwdtraceError, SpecError
from fwdtrace.models.randomness import random_state
from fwdtrace.trace import Trace
from fwdtrace.trace.text import first_few

MOST_NAMED = 8
MODES = (("train", True), ("eval", False))

Steps = dict[tuple[str, str], Snapshot]
"""What each round of one side left, by its mode and name."""

Inventory = tuple[Carried, ...]


@dataclass(frozen=True)
class Setting:
    """What is compared: a module or a function that builds one, its arguments, and where they came from."""

    model: nn.Module | Build
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    spec: str | None = None
    seed: int | None = None


def compare_direct(
    model: nn.Module | Build, /, *args: Any, at: Sequence[str] = ("",), each: bool = False, **kwargs: Any
) -> DirectComparison:
    """Run `model(*args, **kwargs)` and `model.forward(*args, **kwargs)` on equal copies and compare all they do.

    `model` is a module, or a function that builds one where a deep copy would lose something. `at` names the modules to
    run directly, `""` the root; `each` takes every submodule in turn. The model and the random states are left as they
    were. FwdtraceError if the model cannot be copied, or if it raises when it is called.
    """
    return run_experiments(Setting(model, args, kwargs), at, each=each)


def run_experiments(
    setting: Setting, at: Sequence[str], *, each: bool, tell: Callable[[str], None] = lambda entry: None
) -> DirectComparison:
    """The comparison of one setting, whatever its arguments are called; `tell` hears of each experiment it begins."""
    before = random_state()
    try:
        return _compared_at(setting, at, each, tell)
    finally:
        before.restore()


def _compared_at(setting: Setting, at: Sequence[str], each: bool, tell: Callable[[str], None]) -> DirectComparison:
    laboratory = _Laboratory(setting)
    unused = laboratory.fresh()
    inventory = inventory_of(unused)
    targets = [path for path, _ in unused.named_modules() if path] if each else list(dict.fromkeys(at))
    for target in targets:
        _check_target(unused, target)
    tell(call_of(""))
    normal = laboratory.normal()
    trace = laboratory.observe(enter_by_call)
    experiments: list[Experiment] = []
    differences: list[Difference] = []
    for target in targets:
        tell(direct_call_of(target))
        experiment, its_differences = laboratory.experiment(target, normal, trace, inventory, with_probes=not each)
        experiments.append(experiment)
        differences.extend(its_differences)
    if any(difference.mode for difference in differences):
        differences = laboratory.without_chance(differences, normal)
    ordered, ran = worst_first(differences), tuple(experiments)
    return DirectComparison(
        verdict_of(ordered, ran, inventory),
        ordered,
        trace.versions,
        trace.model,
        fix=fix_of(ordered, ran, inventory),
        seed=setting.seed,
        copies=laboratory.copies.how,
        inventory=inventory,
        experiments=ran,
        findings=tuple(finding for finding in trace.findings if finding.code in ("FT001", "FT002")),
        notes=tuple(laboratory.notes),
    )


def _check_target(model: nn.Module, target: str) -> None:
    try:
        model.get_submodule(target)
    except AttributeError:
        names = [path for path, _ in model.named_modules() if path]
        has = first_few(names, MOST_NAMED) or "none but itself"
        raise SpecError(f"the model has no module {target!r}; it has {has}") from None


class _Laboratory:
    """Runs the model in one way or the other, each time on a fresh copy and from the same random states.

    `notes` collects what to know besides. `failed` are the modes in which `model(x)` itself raises.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.copies = copies_of(setting.model)
        self.fresh = self.copies.fresh
        self.start = random_state()
        self.input_gradients = True
        self.failed: list[str] = []
        self.notes: list[str] = []

    def step(self, model: nn.Module, entry: Callable[..., Any]) -> Snapshot:
        """One forward and backward with the arguments of this comparison."""
        return step(model, entry, self.setting.args, self.setting.kwargs, input_gradients=self.input_gradients)

    def steps(self, enter: Enter) -> Steps:
        """All rounds, entered in one way; those after a first step that raises are left out."""
        return {key: snapshot for mode, training in MODES for key, snapshot in self._rounds(enter, mode, training)}

    def _rounds(self, enter: Enter, mode: str, training: bool) -> list[tuple[tuple[str, str], Snapshot]]:
        model = self.fresh().train(training)
        run = partial(self.step, model, enter(model))
        self.start.restore()
        rounds = [((mode, FIRST_STEP), run())]
        if rounds[0][1].raised is not None:
            return rounds
        update_weights(model)
        self.start.restore()
        rounds.append(((mode, SECOND_STEP), run()))
        model = self.fresh().train(training)
        entry = enter(model)
        change_weights(model)
        self.start.restore()
        rounds.append(((mode, CHANGED_WEIGHTS), forward_only(model, entry, self.setting.args, self.setting.kwargs)))
        return rounds

    def normal(self) -> Steps:
        """All rounds of `model(x)`; FwdtraceError if it raises in both modes."""
        steps = self.steps(enter_by_call)
        if all(steps[mode, FIRST_STEP].raised is not None for mode, _ in MODES):
            self.input_gradients = False
            again = self.steps(enter_by_call)
            if any(again[mode, FIRST_STEP].raised is None for mode, _ in MODES):
                self.notes.append("gradients of the inputs were not compared: with them the model cannot run")
                steps = again
        self._refuse_if_broken(steps)
        return steps

    def _refuse_if_broken(self, normal: Steps) -> None:
        """FwdtraceError if `model(x)` raises in both modes, caused by what it raised; else note the mode that fails."""
        errors = {mode: raised for mode, _ in MODES if (raised := normal[mode, FIRST_STEP].raised) is not None}
        self.failed = list(errors)
        if len(errors) < len(MODES):
            for mode, raised in errors.items():
                text = raised.message.partition("\n")[0]
                self.notes.append(f"{mode} mode: model(x) itself raises {raised.type} in {raised.where}: {text}")
            return
        model = self.fresh()
        self.start.restore()
        try:
            model(*self.setting.args, **self.setting.kwargs)
        except Exception as error:  # the model's own, which the caller shows as the cause
            raise FwdtraceError("the model raised when it was called, so there is nothing to compare") from error
        raised = errors["train"]
        raise FwdtraceError(f"nothing to compare: {raised.where} after model(x) raised {raised.type}: {raised.message}")

    def observe(self, enter: Enter) -> Trace:
        """The trace of one forward and backward on a copy, in train mode if the model works in it."""
        model = self.fresh().train("train" not in self.failed)
        self.start.restore()
        return observed(model, enter, self.step, self.setting.spec, self.setting.seed)

    def experiment(
        self, target: str, normal: Steps, trace: Trace, inventory: Inventory, *, with_probes: bool
    ) -> tuple[Experiment, list[Difference]]:
        """The module at `target` run directly, against `normal`; `trace` is that of a normal run."""
        enter = enter_directly(target)
        call, entry, paths = call_of(target), direct_call_of(target), {target}
        if target == "module" and any(item.kind == "wrapper" for item in inventory):
            call, entry, paths = "model(x)", "model.module.forward(x)", {"module", "_fsdp_wrapped_module"}
        calls = [recorded for recorded in trace.calls if paths & {recorded.path, *recorded.aliases}]
        may_be_hidden = any(recorded.opaque for recorded in trace.calls)
        if not calls and not may_be_hidden:
            return Experiment(target, call, entry, reached=False), []
        direct = self.steps(enter)
        seen = self.observe(enter)
        rounds, differences = _compared(normal, direct, call, entry)
        hooks = fired_on_both(trace, seen, inventory)
        differences.extend(differences_seen(trace, seen, hooks, target, call, entry))
        probes = self._probes(target, enter) if with_probes else ()
        direct_calls = [recorded for recorded in seen.calls if paths & {recorded.path, *recorded.aliases}]
        chain, direct_chain = (ran[0].chain if ran else () for ran in (calls, direct_calls))
        experiment = Experiment(target, call, entry, chain, direct_chain, tuple(rounds), hooks, probes)
        return experiment, [dataclasses.replace(difference, target=target) for difference in differences]

    def _probes(self, target: str, enter: Enter) -> tuple[Fired, ...]:
        counts = []
        for way in (enter_by_call, enter):
            self.start.restore()
            counts.append(probed(self.fresh, way, target, self.step))
        one, other = counts
        kinds = (*FORWARD_PROBES, *BACKWARD_PROBES)
        return tuple(Fired(target, kind, "", one[kind], other[kind]) for kind in kinds if kind in one and kind in other)

    def without_chance(self, differences: list[Difference], normal: Steps) -> list[Difference]:
        """The differences without those that the model also shows when it is called a second time in the same way."""
        _, chance = _compared(normal, self.steps(enter_by_call), "model(x)", "model(x) again")
        by_chance = set(map(_what_and_when, chance))
        if by_chance:
            message = worst_first(chance)[0].message
            self.notes.append(f"not counted, as the model differs from itself when it is called twice: {message}")
        return [difference for difference in differences if _what_and_when(difference) not in by_chance]


def _what_and_when(difference: Difference) -> tuple[str | None, ...]:
    return difference.kind, difference.path, difference.mode, difference.round


def _compared(normal: Steps, direct: Steps, call: str, entry: str) -> tuple[list[Round], list[Difference]]:
    rounds: list[Round] = []
    differences: list[Difference] = []
    for (mode, name), before in normal.items():
        after = direct.get((mode, name))
        if after is None:
            continue
        rounds.append(Round(mode, name, measurements_of(before, after)))
        differences.extend(
            dataclasses.replace(difference, mode=mode, round=name)
            for difference in differences_of(before, after, call, entry)
        )
    return rounds, differences
