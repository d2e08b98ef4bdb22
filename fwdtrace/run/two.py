"""Two models side by side, or one model run in two ways -> TraceComparison."""

from __future__ import annotations

import contextlib
import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from fwdtrace.compare import How
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.names import Renames, renamed
from fwdtrace.compare.two_models.recorded import MAX_BYTES, Once, Runnable
from fwdtrace.compare.two_models.runs import ModelRaised, compare_runs
from fwdtrace.compare.two_models.watched import not_fused
from fwdtrace.compare.weight_map import WeightMap, read_map
from fwdtrace.compare.weights.lively import draw_lively
from fwdtrace.compare.weights.quick_draws import QuickDraws
from fwdtrace.compare.weights.weights import apply, copy_weights, in_words, those_that_matter
from fwdtrace.errors import FwdtraceError, ModelError
from fwdtrace.models.devices import usable
from fwdtrace.models.dtypes import convert, converted, dtype_named
from fwdtrace.models.inputs import Inputs, build_inputs
from fwdtrace.models.load import load_model
from fwdtrace.models.randomness import seed_all
from fwdtrace.models.weights import load_weights
from fwdtrace.run.guess import other_inputs, ran_with
from fwdtrace.trace.garbage import only_new_collected


@dataclass(frozen=True)
class TwoRunsPlan:
    """Which two models to run, on what, and in which way the second run differs from the first.

    `other` is the spec of the second model, None for the first one again. `maps` are `OLD=NEW`, from the names of the
    first to those of the second. `inputs` are texts as `--input` takes them. `train`, `dtype` and `device` are of the
    second run, `train` of both if there are two specs. With `batch`, the second run has that many times the examples.
    With `trust`, a `.pt2` file may run code as it is opened. With `weights_of_second`, nothing is copied: both models
    load what they are given. `maps` may have one file of weights that `save_map` wrote. Unless `fused`, torch's encoder
    layers run as the modules that they are made of.
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
    weights_of_second: Path | None = None
    save_map: Path | None = None
    fused: bool = True


@dataclass(frozen=True)
class TwoRunsResult:
    """The comparison of two runs, as far as both came; `error` if a model raised."""

    comparison: TraceComparison
    error: ModelError | None = None


@only_new_collected()
def compare_two(plan: TwoRunsPlan) -> TwoRunsResult:
    """Run both models and compare them; FwdtraceError if one of them cannot be built or fed.

    Where no inputs are given and a model raises, others are tried.
    """
    result = _compared(plan)
    if result.error is None or plan.inputs or not (tried := other_inputs(plan.spec, plan.seed, trust=plan.trust)):
        return result
    again = _compared(replace(plan, inputs=tried))
    notes = (ran_with(tried, raised=again.error is not None), *again.comparison.notes)
    return replace(again, comparison=replace(again.comparison, notes=notes))


def _compared(plan: TwoRunsPlan) -> TwoRunsResult:
    if plan.dtype is not None:
        dtype_named(plan.dtype)  # a wrong name is refused before anything runs
    plan, map_file = _without_file(plan)
    renamed({}, plan.maps)  # a map that cannot be read is refused before anything runs
    try:
        built = _with_weights(plan, map_file)
        before, after, ran, weights, fused = built.before, built.after, built.ran, built.weights, built.fused
        notes = [f"--map {text} matches no name of the first" for text in plan.maps if not _matches(text, before.model)]
        if weights is not None:
            notes.append(in_words(weights))
        if not fused:
            notes.append("torch's encoder layers and attention were run as the modules that they are made of")
        after = _in_another_way(after, plan)
        if plan.compile:
            notes.append("of compiled code only what goes in and comes out is seen, and compared")
        exact = False if plan.dtype or plan.compile or plan.batch > 1 else None
        how = How(plan.maps, _expected(plan), exact, tuple(notes), weights=weights)
        with contextlib.nullcontext() if fused else not_fused():
            comparison = compare_runs(
                before, after, how, seed=plan.seed, max_bytes=plan.max_bytes, batch=plan.batch, ran=ran
            )
    except ModelRaised as raised:
        error = ModelError(str(raised))
        error.__cause__ = raised.__cause__
        return TwoRunsResult(raised.comparison, error)
    except KeyboardInterrupt:
        raise FwdtraceError(f"interrupted while {plan.spec!r} was compared") from None
    return TwoRunsResult(comparison)


@dataclass(frozen=True)
class _Built:
    """Both models with their weights, their runs if these may be made before, and whether torch may fuse layers."""

    before: Runnable
    after: Runnable
    ran: tuple[Once, Once] | None
    weights: WeightMap | None
    fused: bool


def _with_weights(plan: TwoRunsPlan, map_file: Path | None) -> _Built:
    """Build both models and move the weights.

    Those of the first need not be those that the seed gives, nor those of the second if all are replaced: then they are
    drawn quickly, unless something else depends on them.
    """
    are_free = (plan.same_init or plan.weights) and plan.weights_of_second is None and not plan.train
    if not are_free or plan.other is None:
        return _weighed(plan, _moved(plan, map_file, *_both(plan)))
    quick = QuickDraws(), QuickDraws()
    both = _both(plan, quick)
    built = _moved(plan, map_file, *both) if quick[0].only_in(both[0].model, both[0].model.state_dict()) else None
    if built is None or not quick[1].only_in(built.after.model, _targets(built)):
        built = _moved(plan, map_file, *_both(plan))
        if quick[0].is_in(built.before.model, built.before.model.state_dict()):
            raise FwdtraceError(f"{plan.spec} {_ONCE}")
        if quick[1].is_in(built.after.model, _targets(built)):
            raise FwdtraceError(f"{plan.other} {_ONCE}")
    return _weighed(plan, built)


_ONCE = "gave the same model twice; name what builds a new one each time"


def _targets(built: _Built) -> list[str]:
    """The names of the weights of the second model that were moved."""
    return [move.target for move in built.weights.moves] if built.weights is not None else []


def _without_file(plan: TwoRunsPlan) -> tuple[TwoRunsPlan, Path | None]:
    """The plan with its maps of names alone, and the file among the maps."""
    files = [Path(text) for text in plan.maps if "=" not in text and text.endswith(".json")]
    if len(files) > 1:
        raise FwdtraceError(f"--map {files[1]}: there can be one file; {files[0]} is another")
    return replace(plan, maps=tuple(text for text in plan.maps if Path(text) not in files)), files[0] if files else None


def _matches(text: str, model: nn.Module) -> bool:
    rename = Renames([text])
    return any(rename(name) != name or text.startswith(f"{name}=") for name, _ in model.named_modules() if name) or any(
        rename(name) != name for name in model.state_dict()
    )


def _has_layers(model: nn.Module) -> bool:
    """Whether there is a module that torch may run as one operation."""
    return any(isinstance(module, nn.TransformerEncoderLayer | nn.MultiheadAttention) for module in model.modules())


def _runs(plan: TwoRunsPlan, before: Runnable, after: Runnable) -> tuple[Once, Once] | None:
    """The runs of both, if those by which weights are moved can be those that are compared."""
    if plan.max_bytes < MAX_BYTES or plan.dtype or plan.device or plan.compile or plan.batch > 1:
        return None
    return Once(before, plan.seed, plan.max_bytes // 2), Once(after, plan.seed, plan.max_bytes // 2)


def _moved(plan: TwoRunsPlan, map_file: Path | None, before: Runnable, after: Runnable) -> _Built:
    """Move the weights of the first into the second, by a map that was saved if there is one."""
    fused = plan.fused and _has_layers(before.model) == _has_layers(after.model)
    ran = _runs(plan, before, after)
    with contextlib.nullcontext() if fused else not_fused():
        weights = _weights(plan, map_file, before, after, None if fused and _has_layers(before.model) else ran)
    return _Built(before, after, ran, weights, fused)


def _weights(
    plan: TwoRunsPlan, map_file: Path | None, before: Runnable, after: Runnable, ran: tuple[Once, Once] | None
) -> WeightMap | None:
    """What was moved; None if nobody asked."""
    if plan.weights_of_second is not None:
        load_weights(after.model, plan.weights_of_second)
        return None
    if map_file is None and not plan.same_init and not plan.weights:
        return None
    if not plan.weights:
        draw_lively(before.model, plan.seed)
    if map_file is not None:
        return apply(read_map(map_file).moves, before.model, after.model)
    return copy_weights(before, after, plan.maps, plan.seed, ran)


def _weighed(plan: TwoRunsPlan, built: _Built) -> _Built:
    """With those of the weights that were left which matter, and the map saved if that was asked for."""
    if built.weights is None:
        return built
    parameters = {name for name, _ in built.after.model.named_parameters()}
    left = [name for name in built.weights.left if name in parameters]
    with contextlib.nullcontext() if built.fused else not_fused():
        weights = replace(built.weights, matter=those_that_matter(built.after, left, plan.seed))
    if plan.save_map is not None:
        weights.save(plan.save_map)
    return replace(built, weights=weights)


def _both(plan: TwoRunsPlan, quick: tuple[QuickDraws, QuickDraws] | None = None) -> tuple[Runnable, Runnable]:
    """Both models, each built from the same random state, with equal inputs; the first with its weights loaded."""
    other = plan.other or plan.spec
    seed_all(plan.seed)
    before = load_model(plan.spec, trust=plan.trust, building=quick and quick[0])
    gc.freeze()  # what was imported for it
    seed_all(plan.seed)
    after = load_model(other, trust=plan.trust, building=quick and quick[1])
    texts = plan.inputs or before.inputs
    first = build_inputs(_for_side(texts, 0), before.module, plan.seed)
    second = _inputs_of_second(texts, after.module, plan, other)
    _set_mode(before.module, plan.train and plan.other is not None)
    _set_mode(after.module, plan.train)
    if plan.weights:
        load_weights(before.module, plan.weights)
    return (
        Runnable(before.module, first.args, first.kwargs, plan.spec),
        Runnable(after.module, second.args, second.kwargs, other),
    )


def _set_mode(model: nn.Module, train: bool) -> None:
    """Set the mode of a model; one that was built in evaluation mode keeps the parts that were not."""
    if train or model.training:
        model.train(train)


def _inputs_of_second(texts: tuple[str, ...] | Inputs, model: nn.Module, plan: TwoRunsPlan, spec: str) -> Inputs:
    """The arguments of the second model; FwdtraceError with what to do if it calls one otherwise."""
    try:
        return build_inputs(_for_side(texts, 1), model, plan.seed)
    except FwdtraceError as error:
        if plan.other is None:
            raise
        how = "where the two call an argument otherwise, write --input 'NAME|NAME_IN_SECOND=…'"
        raise FwdtraceError(f"the second, {spec}: {error}; {how}") from None


def _for_side(texts: tuple[str, ...] | Inputs, side: int) -> tuple[str, ...] | Inputs:
    """The inputs as the first or the second model takes them, of `name|other=1x3`."""
    if isinstance(texts, Inputs):
        return texts
    parts = [text.partition("=") for text in texts]
    return tuple(
        f"{names.split('|')[side]}={rest}" if equals and names.count("|") == 1 else names + equals + rest
        for names, equals, rest in parts
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
    arguments = runnable.args, runnable.kwargs
    tensors = [leaf for leaf in _pytree.tree_leaves(arguments) if isinstance(leaf, torch.Tensor) and leaf.dim()]
    examples = tensors[0].shape[0] if tensors else 0

    def changed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if plan.batch > 1 and value.dim() and value.shape[0] == examples:
            # Others after the same ones: a model that mixes examples then gives other numbers for the same.
            value = torch.cat([value, *(value.roll(number, -1) for number in range(1, plan.batch))])
        return value.to(device=device)

    runnable.model.to(device=device)
    args, kwargs = _pytree.tree_map(changed, arguments)
    if plan.dtype:
        dtype = dtype_named(plan.dtype)
        convert(runnable.model, dtype)
        args, kwargs = converted((args, kwargs), dtype)
    if plan.compile:
        runnable.model.compile()
    return replace(runnable, args=args, kwargs=kwargs)
