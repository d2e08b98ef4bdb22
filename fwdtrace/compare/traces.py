"""Two traces -> TraceComparison: what is not the same, led by the first call whose output no longer agrees.

Structure is compared by the traces alone; numbers by what was kept of them, or by statistics if the traces have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fwdtrace.compare.agreement import ComparedCalls, DistancesOf, Strictness, compare_calls, strictness_of
from fwdtrace.compare.align import Alignment, align
from fwdtrace.compare.around import differences_around
from fwdtrace.compare.by_content import SummariesOf
from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.difference import Difference, worst_first
from fwdtrace.compare.differences import (
    differences_in_doubt,
    differences_in_exceptions,
    differences_in_numbers,
    differences_in_outputs,
    differences_in_results,
    differences_in_settings,
    differences_in_structure,
    differences_in_weights,
)
from fwdtrace.compare.gradients import differences_in_gradients
from fwdtrace.compare.origin import growth_from, origin_of, parted_inside, with_unknown_inputs_decided
from fwdtrace.compare.outputs_value import Outputs
from fwdtrace.compare.verdict import notes_on, raised_in, verdict_of
from fwdtrace.compare.weight_map import WeightMap
from fwdtrace.trace import Call, Trace

Partner = Callable[[tuple[str | None, int]], Call | None]
"""From the path and the number of a call of the second trace to the call of the first that belongs to it."""


@dataclass(frozen=True)
class How:
    """How two traces are compared.

    `maps` are names, `A.{i}.x=B.{i}.y`; `expected` are the kinds of difference that count as none; `exact` says whether
    what is within the tolerance but not bit-identical counts as a difference, and None leaves that to what the traces
    are of. `why` says, of the modules of two calls, what they do not have alike; `notes` are added to the comparison's.
    `closer` looks for the origin in all steps of both runs, where the models themselves give other results; it is told
    which call of the first belongs to a call of the second. With `outputs`, what the models themselves give was
    compared by itself, and decides; `is_port` says that the second is built otherwise, None leaves that to the
    alignment.
    `settings` says what the modules of two calls are set to otherwise; `further` differences were found elsewhere.
    `contents` say what is known of the numbers of each trace's calls, by which those with other names are aligned.
    """

    maps: tuple[str, ...] = ()
    expected: frozenset[str] = frozenset()
    exact: bool | None = None
    notes: tuple[str, ...] = ()
    why: Callable[[Call, Call], Iterable[str]] | None = None
    outputs: Outputs | None = None
    weights: WeightMap | None = None
    is_port: bool | None = None
    settings: Callable[[Call, Call], Iterable[str]] | None = None
    further: tuple[Difference, ...] = ()
    closer: Callable[[Partner], Origin | None] | None = None
    contents: tuple[SummariesOf, SummariesOf] | None = None


def compare_traces(
    before: Trace, after: Trace, how: How | None = None, distances_of: DistancesOf | None = None
) -> TraceComparison:
    """Compare two traces; `distances_of` measures the numbers of two calls, if there are any besides the traces."""
    how = how or How()
    alignment = align(before, after, how.maps, how.contents)
    if how.is_port is not None:
        alignment = replace(alignment, is_port=how.is_port)
    strictness = strictness_of(before, after, alignment, how.exact, how.expected)
    compared = [compare_calls(call, other, strictness, distances_of) for call, other in alignment.pairs]
    compared = with_unknown_inputs_decided(before, compared)
    differences = _differences(before, after, alignment, compared, how, strictness)
    ordered = worst_first(difference for difference in differences if difference.kind not in how.expected)
    parted = origin_of(before, after, compared, alignment) if ordered else None
    origin, pair = parted or (None, None)
    if origin is not None and pair is not None:
        origin = _with_reasons(before, after, origin, pair, compared, how)
    if ordered and how.closer is not None and _results_differ(compared, how):
        closer = how.closer({(other.path, other.nth): call for call, other in alignment.pairs}.get)
        if closer is not None:
            origin, pair = _with_distance(closer, compared)
    return TraceComparison(
        verdict_of(ordered, origin, compared, alignment, how.outputs, raised_in(before, after)),
        ordered,
        before.versions,
        before.model,
        after.model,
        origin=origin,
        growth=growth_from(before, pair, compared) if origin is not None else (),
        seed=before.run.seed,
        notes=(*how.notes, *notes_on(before, after, alignment, compared, exact=strictness.exact)),
        outputs=how.outputs,
        weights=how.weights,
        around=differences_around(before, after),
        traces=(before, after),
        aligned=tuple([(pair.call.id, pair.other.id, pair.outputs_agree) for pair in compared]),
        distances=tuple([(pair.call.id, None, pair.apart) for pair in compared if pair.apart is not None]),
    )


def _differences(
    before: Trace,
    after: Trace,
    alignment: Alignment,
    compared: Sequence[ComparedCalls],
    how: How,
    strictness: Strictness,
) -> list[Difference]:
    """All differences; of two models whose results agree, those inside them are none."""
    if how.outputs is not None:
        results = [*differences_in_outputs(how.outputs)]
        if how.outputs.equal is None:
            results += differences_in_results(alignment)
        numbers = differences_in_numbers(compared) if results else ()
        doubt = differences_in_doubt(how.weights) if results else ()
        return [*results, *how.further, *numbers, *differences_in_weights(how.weights), *doubt]
    differences = [*differences_in_numbers(compared), *differences_in_exceptions(alignment), *how.further]
    if alignment.is_port and any(pair.apart is not None for pair in compared):
        return [*differences, *differences_in_results(alignment)]
    differences += differences_in_structure(before, after, alignment)
    if how.settings is not None and "mode" not in how.expected:
        differences += differences_in_settings(compared, how.settings)
    return [*differences, *differences_in_gradients(before, after, exact=strictness.exact)]


def _results_differ(compared: Sequence[ComparedCalls], how: How) -> bool:
    if how.outputs is not None:
        return not how.outputs.equal
    return any(pair.call.parent is None and not pair.outputs_agree for pair in compared)


def _with_distance(origin: Origin, compared: Sequence[ComparedCalls]) -> tuple[Origin, ComparedCalls | None]:
    """The origin with how far the outputs of its call are apart, if that is known, and the pair of that call."""
    place = origin.path, origin.nth
    pair = next((pair for pair in compared if (pair.call.path, pair.call.nth) == place and pair.apart_at_all), None)
    return replace(origin, apart=pair.apart if pair is not None else None), pair


def _with_reasons(
    before: Trace, after: Trace, origin: Origin, pair: ComparedCalls, compared: Sequence[ComparedCalls], how: How
) -> Origin:
    """The origin with what its two modules do not have alike, and where inside them the numbers part."""
    reasons = how.why(pair.call, pair.other) if how.why is not None and origin.apart is not None else ()
    parted = parted_inside(before, after, pair, compared)
    if parted is None:
        return replace(origin, why=(*origin.why, *reasons))
    sites = [event.site if event is not None else None for event in (parted.one, parted.other)]
    return replace(origin, why=(*origin.why, *reasons, parted.reason), first_site=sites[0], site=sites[1])
