"""Two models side by side, or one model run in two ways -> TraceComparison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree

from fwdtrace.compare import How
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.lively import draw_lively
from fwdtrace.compare.names import renamed
from fwdtrace.compare.runs import ModelRaised, Runnable, compare_runs
from fwdtrace.compare.weights import copy_weights
from fwdtrace.errors import FwdtraceError, ModelError
from fwdtrace.models.devices import usable
from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.load import load_model
from fwdtrace.models.randomness import seed_all
from fwdtrace.models.weights import load_weights

DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True)
class TwoRunsPlan:
    """Which two models to run, on what, and in which way the second run differs from the first.

    `other` is the spec of the second model, None for the first one again. `maps` are `OLD=NEW`, from the names of the
    first to those of the second. `inputs` are texts as `--input` takes them. `train`, `dtype` and `device` are of the
    second run, `train` of both if there are two specs. With `batch`, the second run has that many times the examples.
    With `trust`, a `.pt2` file may run code as it is opened.
    """

    spec: str
    other: str | None = None
    maps: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    seed: int = 0
    same_init: bool = False
    weights: Path | None = None
    max_bytes: int = 2**30
    trust: bool = False
    train: bool = False
    dtype: str | None = None
    device: str | None = None
    compile: bool = False
    batch: int = 1


@dataclass(frozen=True)
class TwoRunsResult:
    """The comparison of two runs, as far as both came; `error` if a model raised."""

    comparison: TraceComparison
    error: ModelError | None = None


def compare_two(plan: TwoRunsPlan) -> TwoRunsResult:
    """Run both models and compare them; FwdtraceError if one of them cannot be built or fed."""
    if plan.dtype is not None and plan.dtype not in DTYPES:
        raise FwdtraceError(f"--dtype {plan.dtype}: there are {', '.join(DTYPES)}")
    renamed({}, plan.maps)  # a map that cannot be read is refused before anything runs
    try:
        before, after = _both(plan)
        notes = []
        if plan.same_init or plan.weights:
            if not plan.weights:
                draw_lively(before.model, plan.seed)
            notes.append(copy_weights(before, after, plan.maps, plan.seed).text)
        after = _in_another_way(after, plan)
        if plan.compile:
            notes.append("of compiled code only what goes in and comes out is seen, and compared")
        exact = False if plan.dtype or plan.compile or plan.batch > 1 else None
        how = How(plan.maps, _expected(plan), exact, tuple(notes))
        comparison = compare_runs(before, after, how, seed=plan.seed, max_bytes=plan.max_bytes, batch=plan.batch)
    except ModelRaised as raised:
        error = ModelError(str(raised))
        error.__cause__ = raised.__cause__
        return TwoRunsResult(raised.comparison, error)
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {plan.spec!r} was compared") from None
    return TwoRunsResult(comparison)


def _both(plan: TwoRunsPlan) -> tuple[Runnable, Runnable]:
    """Both models, each built from the same random state, with equal inputs; the first with its weights loaded."""
    other = plan.other or plan.spec
    seed_all(plan.seed)
    before = load_model(plan.spec, trust=plan.trust)
    seed_all(plan.seed)
    after = load_model(other, trust=plan.trust)
    texts = plan.inputs or before.inputs
    first = build_inputs(texts, before.module, plan.seed)
    second = build_inputs(texts, after.module, plan.seed)
    before.module.train(plan.train and plan.other is not None)
    after.module.train(plan.train)
    if plan.weights:
        load_weights(before.module, plan.weights)
    return (
        Runnable(before.module, first.args, first.kwargs, plan.spec),
        Runnable(after.module, second.args, second.kwargs, other),
    )


def _expected(plan: TwoRunsPlan) -> frozenset[str]:
    """The kinds of difference that the second way of running brings with it, which are no news."""
    kinds = {"dtype", "input dtype", "op argument"} if plan.dtype else set()
    kinds |= {"shape", "input shape", "op argument"} if plan.batch > 1 else set()
    kinds |= {"missing", "ops", "hooks", "entry", "chain", "seen inside", "not run"} if plan.compile else set()
    kinds |= {"mode", "op argument"} if plan.train and plan.other is None else set()
    return frozenset(kinds)


def _in_another_way(runnable: Runnable, plan: TwoRunsPlan) -> Runnable:
    """The second model, moved and compiled as the plan says, with its inputs moved and repeated to fit."""
    device = usable(plan.device) if plan.device else None
    if device is not None and device.type == "meta":
        raise FwdtraceError("--device meta: there are no numbers on meta to compare; run it with `fwdtrace run`")
    dtype = getattr(torch, plan.dtype) if plan.dtype else None
    arguments = runnable.args, runnable.kwargs
    tensors = [leaf for leaf in _pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor) and leaf.dim()]
    examples = tensors[0].shape[0] if tensors else 0

    def changed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if plan.batch > 1 and value.dim() and value.shape[0] == examples:
            # Others after the same ones: a model that mixes examples then gives other numbers for the same.
            value = torch.cat([value, *(value.roll(number, -1) for number in range(1, plan.batch))])
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

    runnable.model.to(device=device, dtype=dtype)
    if plan.compile:
        runnable.model.compile()
    args, kwargs = _pytree.tree_map(changed, arguments)
    return replace(runnable, args=args, kwargs=kwargs)
