"""Where two runs part by more than rounding, when they part by rounding alone at an earlier call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fwdtrace.compare.agreement import ComparedCalls, DistancesOf
from fwdtrace.compare.align import Pair
from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.difference import Difference
from fwdtrace.compare.origin import parted_inside
from fwdtrace.compare.programs.judged import coarse_floor
from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.systematic import array_of, floor_of, share_in
from fwdtrace.compare.traces import How, compare_traces
from fwdtrace.compare.verdict import leaves_at
from fwdtrace.trace import Call
from fwdtrace.trace.text import path_text

_GREW = 4.0
"""A call is wrong itself if its outputs are more than so many times further apart than its inputs."""
_NEAR = 4
"""How many calls before it, in the same caller, are looked at as the source of a tensor."""


@dataclass(frozen=True)
class Beyond:
    """The origin of what is more than rounding, and a difference of its own if no recorded call shows it."""

    origin: Origin
    difference: Difference | None = None


def beyond_rounding(
    one: SavedRun, two: SavedRun, how: How, distances: DistancesOf, pairs: Sequence[Pair], forward: TraceComparison
) -> Beyond | None:
    """The origin of what is more than rounding; None if `forward` begins there already, or there is none."""
    first = forward.origin
    if first is not None and (first.apart is None or not first.apart.close):
        return None
    found = None
    if any(each.severity == "numbers" for each in forward.differences):
        how = replace(how, exact=False, expected=how.expected | {"dtype", "input dtype"})
        found = compare_traces(one.trace, two.trace, how, distances).origin
        if found is not None and not _is_its_own(one, found, distances, pairs):
            found = None
    added = _added_share(one, two, distances, pairs)
    ends = {(call.path, call.nth): one.trace.end(call) for call, _ in pairs}
    if added is not None and (found is None or added[0] <= ends[found.path, found.nth]):
        return added[1]
    return Beyond(found) if found is not None else None


def with_beyond(forward: TraceComparison, beyond: Beyond) -> TraceComparison:
    """The comparison, with a verdict that names first what is more than rounding, and then where rounding begins."""
    verdict, first = leaves_at(beyond.origin), forward.origin
    if first is not None and (first.path, first.nth) != (beyond.origin.path, beyond.origin.nth):
        why = f": {'; '.join(first.why)}" if first.why else ""
        verdict += (
            f" Before that they are apart by rounding alone, from {path_text(first.path)} ({first.class_name}) on{why}."
        )
    differences = (*forward.differences, *filter(None, [beyond.difference]))
    return replace(forward, origin=beyond.origin, verdict=verdict, differences=differences)


def _is_its_own(one: SavedRun, origin: Origin, distances: DistancesOf, pairs: Sequence[Pair]) -> bool:
    """Whether the outputs of a call are much further apart than its inputs; else rounding may have added up."""
    pair = next((pair for pair in pairs if (pair[0].path, pair[0].nth) == (origin.path, origin.nth)), None)
    if pair is None or origin.apart is None or origin.apart.times is not None:
        return True
    given = distances(*pair)[0]
    if given is None or not given.relative or origin.apart.relative is None:
        return True
    return origin.apart.relative > _GREW * given.relative


def _added_share(
    one: SavedRun, two: SavedRun, distances: DistancesOf, pairs: Sequence[Pair]
) -> tuple[int, Beyond] | None:
    """The first tensor that holds another multiple of an earlier call's output than it does in the first run.

    The tensor is the input of a call or the output of the caller. Also returned: the id of the last event before it.
    """
    floor = coarse_floor(one.trace, two.trace)
    if floor is None:
        return None
    for caller, other, inside in _with_children(one, pairs):
        for number in range(len(inside)):
            made, after = inside[max(0, number + 1 - _NEAR) : number + 1], inside[number + 1 : number + 2]
            place = after[0] if after else (caller, other)
            share = _share_in(one, two, place, "inputs" if after else "outputs", made, floor, distances)
            if share is not None:
                end = after[0][0].id if after else one.trace.end(caller)
                return end, _beyond(one, two, (caller, other), inside, place, *share, distances)
    return None


def _with_children(one: SavedRun, pairs: Sequence[Pair]) -> Iterator[tuple[Call, Call, list[Pair]]]:
    """Each pair of calls that have children, inner pairs first, with the pairs of their children."""
    inside: dict[int, list[Pair]] = {}
    for call, other in pairs:
        if call.parent is not None:
            inside.setdefault(call.parent, []).append((call, other))
    callers = [pair for pair in pairs if pair[0].id in inside]
    for call, other in sorted(callers, key=lambda pair: (one.trace.end(pair[0]), -pair[0].id)):
        yield call, other, sorted(inside[call.id], key=lambda pair: pair[0].id)


def _share_in(
    one: SavedRun,
    two: SavedRun,
    place: Pair,
    side: Any,
    made: Sequence[Pair],
    floor: float,
    distances: DistancesOf,
) -> tuple[Call, float] | None:
    """The call whose output a tensor holds in another multiple than in the first run, and that multiple."""
    apart = distances(*place)[side == "outputs"]
    if apart is None or apart.same or (apart.times is None and not apart.close):
        return None
    if any((gave := distances(*pair)[1]) is None or not (gave.close or gave.same) for pair in made):
        return None
    numbers = [run.values.side(call, side) for run, call in zip((one, two), place, strict=True)]
    found: list[tuple[float, Call, float]] = []
    for first, second in zip(*numbers, strict=True):
        arrays = [array_of(run.values, at) for run, at in ((one, first), (two, second)) if at is not None]
        if len(arrays) < 2 or any(array is None for array in arrays) or arrays[0].shape != arrays[1].shape:
            continue
        difference = arrays[1] - arrays[0]
        is_coarse = floor_of(run.values.about(at)["dtype"] for run, at in ((one, first), (two, second))) is not None
        swallowed = floor * floor * float((arrays[0] * arrays[0]).sum()) if is_coarse else 0.0  # a sum may lose so much
        for call, _ in made:
            for number in one.values.side(call, "outputs"):
                of = array_of(one.values, number) if number is not None else None
                if of is None or of.size != difference.size:
                    continue
                share = share_in(difference.reshape(of.shape), of)
                size = float((of * of).sum())
                if share is not None and share.is_beyond(floor) and share.value**2 * size > swallowed:
                    found.append((share.value**2 * size, call, 1 + share.value))
    best = max(found, key=lambda each: each[0], default=None)
    return (best[1], best[2]) if best is not None else None


def _beyond(
    one: SavedRun,
    two: SavedRun,
    caller: Pair,
    inside: Sequence[Pair],
    place: Pair,
    source: Call,
    times: float,
    distances: DistancesOf,
) -> Beyond:
    """The caller as origin, with what it has in between: `between c_fc and act`, `nothing became * 1.01`."""
    text = f"what {path_text(source.path)} gives goes on {times:.4g} times as large, in the mean over all elements"
    first = place[0].id if place[0].id != caller[0].id else one.trace.end(caller[0]) + 1
    compared = []
    for pair in (caller, *inside):
        given, gave = distances(*pair)
        agree = pair[0].id < first
        compared.append(ComparedCalls(*pair, inputs_agree=agree, outputs_agree=agree, apart=gave, inputs_apart=given))
    parted = parted_inside(one.trace, two.trace, compared[0], compared)
    where = [parted.reason] if parted is not None else []
    call, other = caller
    other_path = other.path if other.path != call.path else None
    origin = Origin(call.path, call.nth, call.class_name, other_path, compared[0].apart, (text, *where))
    if parted is not None:
        sites = [event.site if event is not None else None for event in (parted.one, parted.other)]
        origin = replace(origin, first_site=sites[0], site=sites[1])
    message = f"in {path_text(call.path)}, {text}"
    difference = Difference("output", "numbers", call.path or "", "", "", message, call.nth)
    return Beyond(origin, difference)
