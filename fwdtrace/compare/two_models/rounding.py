"""Whether two results are apart by rounding alone, measured: what is left of the distance when both run in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from fwdtrace.compare.outputs_value import OutputPair, Outputs
from fwdtrace.compare.parting.known_results import KnownResults
from fwdtrace.compare.two_models.light_copy import light_copy
from fwdtrace.compare.two_models.outputs import turned
from fwdtrace.compare.two_models.recorded import Runnable, named_tensors
from fwdtrace.compare.two_models.watched import Doubles, Watches, in_double
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder.dispatch_mode import DispatchMode
from fwdtrace.recorder.measures.keeper import Keeper, Kept, Sides
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Call

_SHRINKS = 1e-3
"""What is left of a distance by rounding in float64, at most, where all of a model runs in it."""
_OF_FLOAT32 = torch.finfo(torch.float32).eps
_FEW_UNITS = 8
_MANY_UNITS = 200
_NEVER_MORE = 0.05
"""A distance beyond this share of the largest element is not asked about: no rounding of a sound model is so large."""


@dataclass(frozen=True)
class Given:
    """A model with its arguments, and the results that it gave, by their names."""

    runnable: Runnable
    gave: dict[str, Tensor]


def with_rounding(
    outputs: Outputs, before: Given, after: Given, watches: Watches, *, own_weights: bool = False
) -> Outputs:
    """The results with the decision whether they agree; measured only where they are not the same bit for bit.

    In float64 a distance by rounding all but vanishes. Where a model computes part of it in a smaller type all the
    same, the distance must be within twice what running in float64 changes in both models themselves, or within a few
    units in the last place of that type. Models with `own_weights`, which were not moved from one into the other, may
    have them rounded: then it must be within what a change of all weights in their last place does.
    """
    if outputs.equal is not False or any(not _may_round(pair) for pair in outputs.pairs):
        return outputs
    # Where they seem to differ, every step is looked at all the same: the runs for that give these results as well.
    run = _as_watched if any(_is_far(pair, before) for pair in outputs.pairs) else _in_double
    ours, theirs = (run(given.runnable, watches) for given in (before, after))
    if ours is None or theirs is None:
        close = all(pair.apart.same or pair.apart.close for pair in outputs.pairs)
        return replace(outputs, equal=close, rounding=close)
    coarsest = coarsest_of(ours[1], theirs[1])
    close = all(_is_rounding(pair, before.gave, after.gave, ours[0], theirs[0], coarsest) for pair in outputs.pairs)
    if not close and own_weights and (nearby := _in_double(before.runnable, watches, rounded=True)) is not None:
        rows = ((pair, ours[0].get(pair.first), theirs[0].get(pair.second)) for pair in outputs.pairs)
        close = all(_is_as_near(one, other, nearby[0].get(pair.first), pair.order) for pair, one, other in rows)
    return replace(outputs, equal=close, rounding=close)


def coarsest_of(one: float, other: float) -> float | None:
    """The coarser of two precisions; None if one alone is coarser than float32, as that may be what is wrong."""
    finer, coarser = sorted((one, other))
    return None if finer <= _OF_FLOAT32 < coarser else coarser


def precision_of(model: nn.Module) -> float:
    """The distance of 1 to the next number in the coarsest type of the model's floating parameters."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    return max((torch.finfo(dtype).eps for dtype in dtypes), default=0.0)


class CallsInDouble:
    """By how much what each call of a model gives is rounded: how far it is from what it gives in float64.

    The model runs in float64 when the first call is asked about.
    """

    def __init__(self, runnable: Runnable, kept: Mapping[int, Sides], most: int, watches: Watches) -> None:
        self._runnable, self._kept, self._most, self._watches = runnable, kept, most, watches

    def __call__(self, call: Call) -> float:
        """The largest distance of an element that the call gave; 0 if that is not known, or too much for rounding."""
        ours = self._kept.get(call.id, ((), ()))[1]
        theirs = self._in_double.get((call.path, call.nth), ())
        found = 0.0
        for one, two in zip(ours, theirs, strict=False):
            if one is not None and two is not None and one.tensor is not None and two.tensor is not None:
                noise = _largest(one.tensor, two.tensor) or 0.0
                largest = float(two.tensor.abs().max()) if two.tensor.numel() else 0.0
                found = max(found, noise if noise <= _NEVER_MORE * largest else 0.0)
        return found

    @cached_property
    def _in_double(self) -> dict[tuple[str | None, int], tuple[Kept | None, ...]]:
        keeper = Keeper(self._most)
        try:
            model, args, kwargs = _copy_in_double(self._runnable, self._watches.doubles)
            seed_all(self._watches.seed)
            with torch.no_grad(), Recording(model, Options(keeper=keeper), None, self._watches.seed) as recording:
                model(*args, **kwargs)
        except Exception:  # the model is the user's: it may make tensors of a type of its own
            return {}
        return {(call.path, call.nth): keeper.by_id.get(call.id, ((), ()))[1] for call in recording.trace.calls}


def _is_as_near(one: Tensor | None, other: Tensor | None, nearby: Tensor | None, order: tuple[int, ...] | None) -> bool:
    """Whether a result is as near to that of the first as one with weights that are rounded otherwise."""
    if one is None or other is None or nearby is None:
        return False
    left, noise = _largest(one, turned(other, order)), _largest(one, nearby)
    return left is not None and noise is not None and left <= _FEW_UNITS * noise


def _may_round(pair: OutputPair) -> bool:
    apart = pair.apart
    return apart.same or (apart.absolute is not None and apart.relative is not None and apart.relative < _NEVER_MORE)


class _Precision(DispatchMode):
    """Notes the coarsest precision of what the operations give."""

    def __init__(self, known: KnownResults) -> None:
        super().__init__()
        self.coarsest = 0.0
        self._known = known

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        result = self._known.result_of(function, args, kwargs or {})
        for leaf in _pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.coarsest = max(self.coarsest, torch.finfo(leaf.dtype).eps)
        return result


def _copy_in_double(runnable: Runnable, doubles: Doubles) -> tuple[nn.Module, Any, Any]:
    return in_double(*light_copy(runnable.model, runnable.args, runnable.kwargs), doubles)


def _in_double(
    runnable: Runnable, watches: Watches, *, rounded: bool = False
) -> tuple[dict[str, Tensor], float] | None:
    """The results of a copy in float64, and the coarsest precision in it; None if the model cannot run so.

    With `rounded`, its weights are changed in the last place of the type that they had.
    """
    try:
        size = precision_of(runnable.model) if rounded else 0.0
        model, args, kwargs = _copy_in_double(runnable, watches.doubles)
        for parameter in model.parameters() if rounded else ():
            generator = torch.Generator().manual_seed(watches.seed)
            noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.device)
            parameter.data = parameter.data * (1 + size * (noise - 0.5))
        seed_all(watches.seed)
        with torch.no_grad(), _Precision(watches.known) as precision:
            return named_tensors(model(*args, **kwargs)), precision.coarsest
    except Exception:  # the model is the user's: it may make tensors of a type of its own
        return None


def _as_watched(runnable: Runnable, watches: Watches) -> tuple[dict[str, Tensor], float] | None:
    """The same from the run in which every step is noted."""
    try:
        run = watches.of(runnable)
    except Exception:  # a model that cannot be copied
        return None
    return (run.gave, torch.finfo(run.steps.coarsest).eps) if run.error is None else None


def _is_far(pair: OutputPair, before: Given) -> bool:
    """Whether a result is further than rounding takes most models."""
    result, apart = before.gave.get(pair.first), pair.apart
    if apart.same or result is None or apart.relative is None or not result.is_floating_point():
        return False
    return apart.relative > _MANY_UNITS * torch.finfo(result.dtype).eps


def _is_rounding(
    pair: OutputPair,
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    ours_in_double: dict[str, Tensor],
    theirs_in_double: dict[str, Tensor],
    coarsest: float | None,
) -> bool:
    if pair.apart.same:
        return True
    names = pair.first, pair.second
    sides: Sequence[tuple[Tensor | None, Tensor | None]] = (
        (ours.get(names[0]), ours_in_double.get(names[0])),
        (theirs.get(names[1]), theirs_in_double.get(names[1])),
    )
    (one, one_double), (two, two_double) = sides
    if one is None or two is None or one_double is None or two_double is None:
        return pair.apart.close
    if not one.is_floating_point() and not one.is_complex():
        return False
    left = _largest(one_double, turned(two_double, pair.order))
    if left is None:
        return False
    native = _largest(one, turned(two, pair.order))
    if native is not None and left <= _SHRINKS * native:
        return True
    if coarsest is None or coarsest < _OF_FLOAT32:
        return False
    noise = [_largest(each, double) or 0.0 for each, double in ((one, one_double), (two, two_double))]
    largest = float(one_double.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return left <= max(2 * sum(noise), _FEW_UNITS * coarsest * largest)


def _largest(one: Tensor, two: Tensor) -> float | None:
    """The largest difference of two elements; None if only one of two is finite."""
    if one.shape != two.shape:
        return None
    a, b = (tensor.detach().to("cpu", torch.float64) for tensor in (one, two))
    apart = (a - b).abs()
    apart[(a == b) | (a.isnan() & b.isnan())] = 0.0
    largest = float(apart.max()) if apart.numel() else 0.0
    return largest if largest == largest and largest != float("inf") else None
