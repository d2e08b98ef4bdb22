"""Run two models on the same inputs from the same random state, keep their numbers, and compare."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fwdtrace.compare.align import align
from fwdtrace.compare.by_steps import origin_by_steps, sides_of
from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.kept_numbers import KeptNumbers
from fwdtrace.compare.modules import differences_of_modules
from fwdtrace.compare.traces import How, Partner, compare_traces
from fwdtrace.compare.watched import watch
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder import Options, Recording
from fwdtrace.recorder.measures.keeper import Keeper, Sides
from fwdtrace.trace import Call, Trace

MAX_BYTES = 2**30


@dataclass(frozen=True)
class Runnable:
    """A model, the arguments it is called with, and the spec it came from."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    spec: str | None = None


class ModelRaised(Exception):
    """A model raised, the first of the two if both did; its exception is the cause, its spec the text.

    `comparison` is that of the calls up to there.
    """

    def __init__(self, spec: str, comparison: TraceComparison) -> None:
        super().__init__(spec)
        self.comparison = comparison


def compare_runs(
    before: Runnable,
    after: Runnable,
    how: How | None = None,
    *,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
    batch: int = 1,
) -> TraceComparison:
    """Run both models once without gradients and compare all that was recorded, numbers included.

    Copies of at most `max_bytes` are kept, half of them of each model; larger tensors are compared by digest and
    statistics. With `batch`, the second has that many times the examples, the same ones first. ModelRaised if a model
    raised, once all up to there is compared.
    """
    how = how or How()
    again = [_again(runnable) for runnable in (before, after)]
    first, second = (_run(runnable, seed, max_bytes // 2) for runnable in (before, after))
    digests = first.digests + second.digests
    if digests:
        note = f"{digests} tensors beyond {max_bytes:,} bytes were compared by digest and statistics"
        how = replace(how, notes=(*how.notes, f"{note}; --max-bytes keeps more"))
    is_port = align(first.trace, second.trace, how.maps).is_port

    def why(call: Call, other: Call) -> Iterable[str]:
        return differences_of_modules(_module(before.model, call), _module(after.model, other))

    numbers = KeptNumbers(first.numbers, second.numbers, is_port=is_port, batch=batch)
    def closer(partner: Partner) -> Origin | None:
        return _origin_by_steps(again[0], again[1], seed, partner)

    may_look_closer = how.exact is None and batch == 1 and first.error is None and second.error is None
    how = replace(how, why=how.why or why, closer=closer if may_look_closer else None)
    comparison = compare_traces(first.trace, second.trace, how, numbers.distances_of)
    for runnable, run in ((before, first), (after, second)):
        if run.error is not None:
            raise ModelRaised(runnable.spec or type(runnable.model).__name__, comparison) from run.error
    return comparison


def _again(runnable: Runnable) -> Runnable:
    """The same with inputs of its own, so that it can be run once more as it was; its model is still the same."""
    try:
        args, kwargs = copy.deepcopy((runnable.args, runnable.kwargs))
    except Exception:  # the user's own objects
        return runnable
    return replace(runnable, args=args, kwargs=kwargs)


def _origin_by_steps(before: Runnable, after: Runnable, seed: int, partner: Partner) -> Origin | None:
    """Where the runs part by all their steps; in float64 if both models can, else in their own types."""
    for double in (True, False):
        try:
            first, second = (watch(each.model, each.args, each.kwargs, seed, double=double) for each in (before, after))
        except Exception:  # a model that cannot be copied
            return None
        if first.error is None and second.error is None:
            break
    else:
        return None
    coarsest = max(torch.finfo(run.steps.coarsest).eps for run in (first, second))
    tolerance = 1e-8 if coarsest < 1e-12 else 8 * coarsest
    sides = sides_of((first.trace, first.steps), (second.trace, second.steps), tolerance)
    roots = [run.trace.children()[0].id for run in (first, second)]
    outputs = list(zip(first.steps.gave[roots[0]], second.steps.gave[roots[1]], strict=False))

    def why(call: Call, other: Call) -> Iterable[str]:
        return differences_of_modules(_module(before.model, call), _module(after.model, other))

    return origin_by_steps(*sides, outputs, why, partner)


@dataclass(frozen=True)
class _Run:
    """What one run of a model left: its trace, the numbers of each call, and what the model raised, if anything.

    `digests` counts the tensors of which no copy was kept.
    """

    trace: Trace
    numbers: dict[int, Sides]
    digests: int
    error: Exception | None


def _run(runnable: Runnable, seed: int, max_bytes: int) -> _Run:
    seed_all(seed)
    keeper = Keeper(max_bytes)
    recording = Recording(runnable.model, Options(ops=True, keeper=keeper), runnable.spec, seed)
    raised = None
    with torch.no_grad():
        try:
            with recording:
                runnable.model(*runnable.args, **runnable.kwargs)
        except Exception as error:  # the model is the user's
            raised = error
        return _Run(recording.trace, keeper.by_id, keeper.digests, raised)


def _module(model: nn.Module, call: Call) -> nn.Module:
    """The module that a call was of; an empty one for a module outside the tree."""
    try:
        return nn.Module() if call.path is None else model.get_submodule(call.path)
    except AttributeError:  # it was swapped in during forward, and out again
        return nn.Module()
