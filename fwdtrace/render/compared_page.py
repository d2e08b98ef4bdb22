"""What a page says of two runs above their trees: each call that is apart, by pass and line, and how that grows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fwdtrace.compare.comparison import ApartAt, TraceComparison
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.render.growth import Series, growth_svg
from fwdtrace.render.side_by_side import origins
from fwdtrace.render.words import cut, printable
from fwdtrace.trace import Call, Event, Op, Site
from fwdtrace.trace.text import path_text, site_text, with_nth

MOST = 200
"""So many calls of each pass are in the table; the tree has all of them."""
_LABEL = 9
"""The letters for which there is room below a chart."""

HEADS = ("pass", "call", "module", "op", "first", "second", "difference", "relative")


@dataclass(frozen=True)
class ApartRow:
    """A row of the table: its cells, and the rows of both trees that it leads to, None for one that is not there."""

    cells: tuple[str, ...]
    first: int | None
    second: int | None


def apart_rows(comparison: TraceComparison) -> Iterator[ApartRow]:
    """Where the two part, and then what is apart in forward and in backward, in order."""
    if comparison.traces is None:
        return
    before, after = comparison.traces
    places = [{event.id: place for place, event in enumerate(trace.events)} for trace in (before, after)]
    partners = {one: other for one, other, _ in comparison.aligned}
    number = f"{before.run.call:,}" if before.run.call is not None else ""
    origin = comparison.origin
    if origin is not None:
        here, there = (next(iter(origins(comparison, trace, side)), None) for side, trace in enumerate((before, after)))
        sites = origin.first_site or _site(here), origin.site or _site(there)
        ops = dict.fromkeys(event.name for event in (here, there) if isinstance(event, Op))
        yield ApartRow(
            (
                *(f"{origin.which}, from here", number, with_nth(path_text(origin.path), origin.nth)),
                *(origin.op or " / ".join(ops), *map(_line, sites), *_numbers(origin.apart)),
            ),
            places[0][here.id] if here is not None else None,
            places[1][there.id] if there is not None else None,
        )
    for which, apart in (("forward", _in_order(comparison)), ("backward", comparison.backward_distances)):
        for id, parameter, distance in [each for each in apart if not each[2].same][:MOST]:
            call, partner = before.call(id), after.call(partners[id]) if id in partners else None
            what = with_nth(path_text(call.path), call.nth) + (f": gradient of {parameter}" if parameter else "")
            sites = _site(call), _site(partner)
            yield ApartRow(
                (which, number, what, "", *map(_line, sites), *_numbers(distance)),
                places[0][id],
                places[1][partner.id] if partner is not None else None,
            )


def comparison_charts(comparison: TraceComparison) -> Iterator[str]:
    """How the difference grows along forward, along backward, and from one step to the next."""
    if comparison.traces is None:
        return
    trace = comparison.traces[0]
    for which, apart in (("forward", _in_order(comparison)), ("backward", comparison.backward_distances)):
        if sum(not distance.same for _, _, distance in apart) > 1:
            labels = [cut(printable(_short(trace.call(id))), _LABEL) for id, _, _ in apart]
            values = tuple(_relative(distance) for _, _, distance in apart)
            yield growth_svg(f"relative difference along {which}", labels, [Series(which, values)])
    if len(comparison.steps) > 1:
        labels = [f"call {step.call:,}" for step in comparison.steps]
        series = [
            Series("weights before", tuple(_of_weights(step.weights, step.weights_apart) for step in comparison.steps)),
            Series("forward", tuple(_relative(step.forward) for step in comparison.steps)),
            Series("backward", tuple(_relative(step.backward) for step in comparison.steps)),
        ]
        if any(value for each in series for value in each.values):
            yield growth_svg("relative difference by call of the program", labels, series)


def _in_order(comparison: TraceComparison) -> list[ApartAt]:
    """What is apart in forward, in the order in which calls ended."""
    assert comparison.traces is not None
    trace = comparison.traces[0]
    return sorted(comparison.distances, key=lambda each: (trace.end(trace.call(each[0])), -each[0]))


def _site(event: Event | None) -> Site | None:
    return event.site if event is not None else None


def _line(site: Site | None) -> str:
    return printable(site_text(site))


def _numbers(apart: Distance | None) -> tuple[str, str]:
    if apart is None:
        return "", ""
    if apart.absolute is None:
        return "not finite", ""
    return f"{apart.absolute:.2g}", f"{apart.relative:.2g}" if apart.relative is not None else ""


def _relative(apart: Distance | None) -> float | None:
    if apart is None:
        return None
    if apart.same:
        return 0.0
    return math.inf if apart.absolute is None else apart.relative or apart.absolute


def _of_weights(names: tuple[str, ...] | None, apart: Distance | None) -> float | None:
    return 0.0 if names == () else _relative(apart)


def _short(call: Call) -> str:
    """The block that a call is in: the first two parts of its path."""
    return ".".join((call.path or "model").split(".")[:2])
