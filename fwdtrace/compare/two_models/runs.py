"""Run two models on the same inputs from the same random state, keep their numbers, and compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from fwdtrace.compare.align import Alignment, align
from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.differences import other_ops
from fwdtrace.compare.modules import (
    differences_of_attributes,
    differences_of_modules,
    differences_of_settings,
    weight_apart,
)
from fwdtrace.compare.outputs_value import Outputs
from fwdtrace.compare.parting.by_steps import origin_by_steps, sides_of
from fwdtrace.compare.parting.departure import Side, departure_of
from fwdtrace.compare.parting.in_parts import Cut, cut_by
from fwdtrace.compare.traces import How, Partner, compare_traces
from fwdtrace.compare.two_models.buffers import differences_in_buffers
from fwdtrace.compare.two_models.kept_numbers import KeptNumbers
from fwdtrace.compare.two_models.light_copy import tensors_of
from fwdtrace.compare.two_models.outputs import outputs_of
from fwdtrace.compare.two_models.quantized import quantized_weights
from fwdtrace.compare.two_models.recorded import MAX_BYTES, Once, Runnable
from fwdtrace.compare.two_models.rounding import CallsInDouble, Given, coarsest_of, precision_of, with_rounding
from fwdtrace.compare.two_models.watched import Watched, Watches, watch
from fwdtrace.compare.weight_map import WeightMap
from fwdtrace.trace import Call, Trace, tensors_in


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
    ran: tuple[Once, Once] | None = None,
) -> TraceComparison:
    """Run both models once without gradients and compare all that was recorded, numbers included.

    `ran` has their runs, if these may have been made before.

    Copies of at most `max_bytes` are kept, half of them of each model; larger tensors are compared by digest and
    statistics. With `batch`, the second has that many times the examples, the same ones first. ModelRaised if a model
    raised, once all up to there is compared.
    """
    how = how or How()
    first, second = (once.run for once in ran or [Once(each, seed, max_bytes // 2) for each in (before, after)])
    watches = Watches(seed)
    digests = first.digests + second.digests
    if digests:
        note = f"{digests} tensors beyond {max_bytes:,} bytes were compared by digest and statistics"
        how = replace(how, notes=(*how.notes, f"{note}; --max-bytes keeps more"))
    alignment = align(first.trace, second.trace, how.maps)
    is_port = _is_port(before.model, after.model, alignment) or (
        before.spec != after.spec and other_ops(first.trace, second.trace, alignment)
    )
    own_weights = is_port and (how.weights is None or how.weights.is_rounded)
    if how.exact is None and is_port and first.error is None and second.error is None:
        results = outputs_of(list(first.gave.items()), list(second.gave.items()))
        given = [Given(each, run.gave) for each, run in ((before, first), (after, second))]
        rounded = with_rounding(results, given[0], given[1], watches, own_weights=own_weights)
        how = replace(how, outputs=rounded)

    def why(call: Call, other: Call) -> Iterable[str]:
        return differences_of_modules(_module(before.model, call), _module(after.model, other))

    outputs, weights = how.outputs, how.weights
    quantized = quantized_weights(
        (call, other, _module(before.model, call), _module(after.model, other)) for call, other in alignment.pairs
    )
    if quantized is not None:
        how = replace(how, notes=(*how.notes, quantized.note))

    def closer(partner: Partner) -> Origin | None:
        if quantized is not None and quantized.further is not None:
            return quantized.further
        partner = _by_weights(partner, weights, first.trace)
        return _origin_by_steps(before, after, watches, partner, outputs, weights, own_weights=own_weights)

    def settings(call: Call, other: Call) -> Iterable[str]:
        return differences_of_settings(_module(before.model, call), _module(after.model, other))

    written = differences_in_buffers((first.buffers, second.buffers), (before.model, after.model), how.weights)
    how = replace(how, settings=settings, further=(*how.further, *written))
    rounding = CallsInDouble(before, first.numbers, max_bytes // 2, watches)
    numbers = KeptNumbers(
        first.numbers, second.numbers, is_port=is_port, batch=batch, rounding=None if is_port else rounding
    )

    may_look_closer = how.exact is None and batch == 1 and first.error is None and second.error is None
    how = replace(how, is_port=is_port, why=how.why or why, closer=closer if may_look_closer else None)
    comparison = compare_traces(first.trace, second.trace, how, numbers.distances_of)
    for runnable, run in ((before, first), (after, second)):
        if run.error is not None:
            raise ModelRaised(runnable.spec or type(runnable.model).__name__, comparison) from run.error
    return comparison


def _is_port(one: nn.Module, other: nn.Module, alignment: Alignment) -> bool:
    """Whether the second is another model built in its own way, so that only what it gives is compared."""
    if alignment.is_port or (type(one) is type(other) and one.state_dict().keys() == other.state_dict().keys()):
        return alignment.is_port
    alone = alignment.only_before or alignment.only_after
    return bool(alone) or any(
        call.class_name != other.class_name for call, other in alignment.pairs if call.parent is not None
    )


def _origin_by_steps(
    before: Runnable,
    after: Runnable,
    watches: Watches,
    partner: Partner,
    compared: Outputs | None,
    weights: WeightMap | None,
    *,
    own_weights: bool = False,
) -> Origin | None:
    """Where the runs part by all their steps; in float64 if both models can, else in their own types.

    Models with weights of their own may have them rounded, as those that a low-rank adapter was merged into.
    """
    for in_double in (True, False):
        try:
            first, second = (
                watches.of(each) if in_double else watch(each, watches.seed, None) for each in (before, after)
            )
        except Exception:  # a model that cannot be copied
            return None
        if first.error is None and second.error is None:
            break
    else:
        return None
    precisions = [torch.finfo(run.steps.coarsest).eps for run in (first, second)]
    coarsest = coarsest_of(*precisions) or min(precisions)
    if own_weights:
        coarsest = max(coarsest, *(precision_of(runnable.model) for runnable in (before, after)))
    tolerance = 1e-8 if coarsest < 1e-12 else 8 * coarsest
    sides = sides_of((first.trace, first.steps), (second.trace, second.steps), tolerance, in_turns=False)
    outputs = _numbers_of_outputs(first, second, compared)
    cuts = [_cut_where(side, [pair[place] for pair in outputs]) for place, side in enumerate(sides)]
    if any(cuts):  # one of the models works on parts of what the other has as a whole
        first, second = (
            run if cut is None else watches.in_parts(runnable, cut.parts_of, in_double=in_double)
            for run, runnable, cut in zip((first, second), (before, after), reversed(cuts), strict=True)
        )
        outputs = _numbers_of_outputs(first, second, compared)
    sides = sides_of((first.trace, first.steps), (second.trace, second.steps), tolerance)

    def why(call: Call, other: Call) -> Iterable[str]:
        return differences_of_modules(_module(before.model, call), _module(after.model, other))

    def attributes(call: Call, other: Call) -> Iterable[str]:
        return differences_of_attributes(_module(before.model, call), _module(after.model, other))

    came_of = {move.target: move.pieces for move in weights.moves} if weights is not None else {}

    def other_weight(name: str, other: str) -> str:
        if other in came_of and all(name not in piece.names for piece in came_of[other]):
            return ""
        one, two = tensors_of(before.model).get(name), tensors_of(after.model).get(other)
        return weight_apart(name, one, two) if one is not None and two is not None and one.shape == two.shape else ""

    return origin_by_steps(*sides, outputs, why, attributes, partner, other_weight)


def _by_weights(partner: Partner, weights: WeightMap | None, first: Trace) -> Partner:
    """The partner of a call: that of the module whose weights it has got, if they are all of one."""
    holders: dict[str, set[str]] = {}
    for move in weights.moves if weights is not None else ():
        holders.setdefault(move.target.rpartition(".")[0], set()).update(
            name.rpartition(".")[0] for piece in move.pieces for name in piece.names
        )

    def found(place: tuple[str | None, int]) -> Call | None:
        of = holders.get(place[0] or "", ())
        calls = [call for path in of for call in first.at(path) if call.nth == place[1]] if len(of) == 1 else []
        return calls[0] if len(calls) == 1 else partner(place)

    return found


def _cut_where(side: Side, outputs: Iterable[int]) -> Cut | None:
    """How a run cuts a tensor where it leaves the other, if that is all it does there."""
    departure = departure_of(side, outputs)
    return cut_by(side.steps, departure.step) if departure is not None else None


def _numbers_of_outputs(first: Watched, second: Watched, compared: Outputs | None) -> list[tuple[int, int]]:
    """The numbers of the results that belong together and are not the same."""
    roots = [run.trace.children()[0] for run in (first, second)]
    gave = [run.steps.gave.get(root.id, ()) for run, root in zip((first, second), roots, strict=True)]
    if compared is None or not compared.pairs:
        return list(zip(*gave, strict=False))
    places = [{leaf.name: place for place, leaf in enumerate(tensors_in(root.outputs))} for root in roots]
    return [
        (gave[0][places[0][pair.first]], gave[1][places[1][pair.second]])
        for pair in compared.pairs
        if not pair.apart.same and pair.first in places[0] and pair.second in places[1]
    ]


def _module(model: nn.Module, call: Call) -> nn.Module:
    """The module that a call was of; an empty one for a module outside the tree."""
    try:
        return nn.Module() if call.path is None else model.get_submodule(call.path)
    except AttributeError:  # it was swapped in during forward, and out again
        return nn.Module()
