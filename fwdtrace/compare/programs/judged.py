"""How far the saved numbers of two calls are apart, judged by all that both runs have computed until then."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Literal

from fwdtrace.compare.agreement import Distances, DistancesOf
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.compare.numbers.tolerances import TOLERANCES
from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_numbers import INPUTS_AND_OUTPUTS, measure
from fwdtrace.compare.programs.systematic import floor_of, share_of_saved, times_by
from fwdtrace.trace import Call, Trace


def judged_distances(one: SavedRun, two: SavedRun) -> DistancesOf:
    """The distances of two calls, where rounding is that of the coarsest dtype which a run has computed in by then.

    A loss in float32 that comes from bfloat16 is not apart by less. Elements that are all
    larger by one factor are not apart by rounding.
    """
    coarsest = [_coarsest_by_call(side.trace) for side in (one, two)]
    known: dict[tuple[int, int], Distances] = {}

    def measured(call: Call, other: Call) -> Distances:
        key = call.id, other.id
        if key not in known:
            distances = measure(one.values, two.values, call, other)
            judged = [
                _judged(
                    apart,
                    (one, two),
                    (call, other),
                    side,
                    {coarsest[0][place].get(call.id), coarsest[1][place].get(other.id)},
                )
                for place, (side, apart) in enumerate(zip(INPUTS_AND_OUTPUTS, distances, strict=True))
            ]
            known[key] = judged[0], judged[1]
        return known[key]

    return measured


def coarse_floor(before: Trace, after: Trace) -> float | None:
    """The share of a tensor that is no rounding, where a tolerance by element would let it pass; None if none would."""
    return floor_of(
        getattr(leaf, "dtype", "") for trace in (before, after) for call in trace.calls for leaf in call.outputs
    )


def _judged(
    apart: Distance | None,
    runs: tuple[SavedRun, SavedRun],
    calls: tuple[Call, Call],
    side: Literal["inputs", "outputs"],
    dtypes: set[str | None],
) -> Distance | None:
    if apart is None or apart.same or apart.absolute is None:
        return apart
    dtype = next((dtype for dtype in TOLERANCES if dtype in dtypes), None)
    if not apart.close and dtype is not None:
        apart = replace(apart, close=apart.relative is not None and apart.relative <= TOLERANCES[dtype])
    floor = floor_of([dtype or ""])
    if not apart.close or floor is None:
        return apart
    numbers = [run.values.side(call, side) for run, call in zip(runs, calls, strict=True)]
    for first, second in zip(*numbers, strict=True):
        if first is not None and second is not None:
            times = times_by(share_of_saved(runs[0].values, first, runs[1].values, second), floor)
            if times is not None:
                return replace(apart, close=False, times=times)
    return apart


def _coarsest_by_call(trace: Trace) -> tuple[dict[int, str], dict[int, str]]:
    """The coarsest dtype among the outputs of all calls that begin before each call begins, and before it ends."""
    order = list(TOLERANCES)
    begun: list[int] = []
    least = [len(order)]
    for call in trace.calls:
        ranks = [order.index(dtype) for leaf in call.outputs if (dtype := getattr(leaf, "dtype", None)) in order]
        begun.append(call.id)
        least.append(min([least[-1], *ranks]))
    places = [{call.id: least[place] for place, call in enumerate(trace.calls)}]
    places.append({call.id: least[bisect_right(begun, trace.end(call))] for call in trace.calls})
    began, ended = ({id: order[at] for id, at in rows.items() if at < len(order)} for rows in places)
    return began, ended
