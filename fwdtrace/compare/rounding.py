"""Whether two results are apart by rounding alone, measured: what is left of the distance when both run in float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from fwdtrace.compare.outputs import turned
from fwdtrace.compare.outputs_value import OutputPair, Outputs
from fwdtrace.compare.watched import in_double
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder.describe import walk

_SHRINKS = 1e-3
"""What is left of a distance by rounding in float64, at most, where all of a model runs in it."""
_NEVER_MORE = 0.05
"""A distance beyond this share of the largest element is not asked about: no rounding of a sound model is so large."""


@dataclass(frozen=True)
class Given:
    """A model, its arguments, and the results that it gave, by their names."""

    model: nn.Module
    args: Any
    kwargs: Any
    gave: dict[str, Tensor]


def with_rounding(outputs: Outputs, before: Given, after: Given, seed: int) -> Outputs:
    """The results with the decision whether they agree; measured only where they are not the same bit for bit.

    In float64 a distance by rounding all but vanishes. Where a model computes part of it in another type all the same,
    the distance must be within twice what running in float64 changes in both models themselves.
    """
    if outputs.equal is not False or any(not _may_round(pair) for pair in outputs.pairs):
        return outputs
    ours, theirs = (_in_double(given, seed) for given in (before, after))
    if ours is None or theirs is None:
        close = all(pair.apart.same or pair.apart.close for pair in outputs.pairs)
        return replace(outputs, equal=close, rounding=close)
    close = all(_is_rounding(pair, before.gave, after.gave, ours, theirs) for pair in outputs.pairs)
    return replace(outputs, equal=close, rounding=close)


def named_tensors(output: Any) -> dict[str, Tensor]:
    """The tensors of a result by the names of their leaves."""
    return {name: leaf for name, leaf in walk(output, "") if isinstance(leaf, Tensor)}


def _may_round(pair: OutputPair) -> bool:
    apart = pair.apart
    return apart.same or (apart.absolute is not None and apart.relative is not None and apart.relative < _NEVER_MORE)


def _in_double(given: Given, seed: int) -> dict[str, Tensor] | None:
    """The results of a copy in float64; None if the model cannot run so."""
    try:
        model, args, kwargs = copy.deepcopy((given.model, given.args, given.kwargs))
        args, kwargs = _pytree.tree_map(in_double, (args, kwargs))
        seed_all(seed)
        with torch.no_grad():
            return named_tensors(model.double()(*args, **kwargs))
    except Exception:  # the model is the user's: it may make tensors of a type of its own
        return None


def _is_rounding(
    pair: OutputPair,
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    ours_in_double: dict[str, Tensor],
    theirs_in_double: dict[str, Tensor],
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
    noise = [_largest(each, double) for each, double in ((one, one_double), (two, two_double))]
    return None not in noise and left <= 2 * sum(each for each in noise if each is not None)


def _largest(one: Tensor, two: Tensor) -> float | None:
    """The largest difference of two elements; None if only one of two is finite."""
    if one.shape != two.shape:
        return None
    a, b = (tensor.detach().to("cpu", torch.float64) for tensor in (one, two))
    apart = (a - b).abs()
    apart[(a == b) | (a.isnan() & b.isnan())] = 0.0
    largest = float(apart.max()) if apart.numel() else 0.0
    return largest if largest == largest and largest != float("inf") else None
