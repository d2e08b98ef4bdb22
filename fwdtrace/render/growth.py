"""Numbers that grow from one call or step to the next: in letters, in lines, and as a chart that a page can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from rich.cells import cell_len

from fwdtrace.render.words import cut, number, padded, printable

BARS = "▁▂▃▄▅▆▇█"
NOT_FINITE = "✗"
MOST_SERIES = 5
LONGEST_NAME = 30

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 168, 56, 30, 180, 24
"""A chart in pixels, and the room around its lines, in which the title, the numbers and the names stand."""
LETTER = 8.5
"""The pixels of a letter on a phone, where letters are larger, with the room that a name needs beside it."""
ABOVE_ZERO = 0.15
"""How far up the smallest number stands where there are zeros below it."""
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#1b7c83")
"""The colours of the series on a light ground; a page may set others by the names --series0 and so on."""


@dataclass(frozen=True)
class Series:
    """Numbers in order, from 0 up, and what they are of: None where there is none, NaN or infinite where one was."""

    name: str
    values: tuple[float | None, ...]

    @property
    def growth(self) -> float:
        """How many times the first number the last finite one is; 0 if there are not two."""
        finite = [value for value in self.values if value is not None and math.isfinite(value) and value > 0]
        return finite[-1] / finite[0] if len(finite) > 1 else 0.0


def most_grown(series: Sequence[Series], most: int = MOST_SERIES) -> list[Series]:
    """Those that have grown most, in the order in which they were given."""
    chosen = sorted(range(len(series)), key=lambda place: -series[place].growth)[:most]
    return [series[place] for place in sorted(chosen)]


def growth_lines(title: str, series: Sequence[Series], width: int) -> Iterator[str]:
    """The title, and below it a line for each series: its name, its bars on a logarithmic scale, and its numbers."""
    if not series:
        return
    yield f"{title}:"
    names = [cut(printable(each.name), LONGEST_NAME) for each in series]
    longest = max(map(cell_len, names))
    scale = _Scale([value for each in series for value in each.values])
    for name, each in zip(names, series, strict=True):
        bars = "".join(map(scale.bar, each.values))
        yield cut(f"  {padded(name, longest)}  {bars}  {_numbers(each.values)}", width)


def growth_svg(title: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """The series over what the labels name, as lines on a logarithmic scale; SVG that needs no style of its own."""
    scale = _Scale([value for each in series for value in each.values])
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    xs = [LEFT + wide * place / max(len(labels) - 1, 1) for place in range(len(labels))]
    parts = [f"<title>{escape(printable(title))}</title>", _text(0, 12, f"{title}, on a logarithmic scale", "start")]
    for end, level in scale.ends(TOP + high, TOP):
        parts.append(f'<path d="M{LEFT} {level}h{wide}" stroke="currentColor" stroke-opacity=".25"/>')
        parts.append(_text(LEFT - 6, level + 4, number(end), "end"))
    parts += [_text(xs[place], HEIGHT - 6, labels[place], "middle") for place in _with_room(labels, xs)]
    for place, each in enumerate(series):
        colour = f"var(--series{place % len(COLOURS)}, {COLOURS[place % len(COLOURS)]})"
        points, lines = [], []
        for x, value in zip(xs, each.values, strict=True):
            if value is None:
                continue
            if math.isfinite(value):
                y = TOP + high * (1 - scale.share(value))
                points.append(f"{x:.1f},{y:.1f}")
                lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="currentColor"/>')
            else:
                lines.append(_text(x, TOP + 4, NOT_FINITE, "middle"))
        lines.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="currentColor" stroke-width="1.5"/>')
        lines.append(_text(WIDTH - RIGHT + 14, TOP + 4 + 16 * place, cut(each.name, LONGEST_NAME), "start"))
        parts.append(f'<g color="{colour}">{"".join(lines)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" font-size="11" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


class _Scale:
    """A logarithmic scale from the smallest to the largest of these numbers; zeros stand below all others."""

    def __init__(self, values: Sequence[float | None]) -> None:
        finite = [value for value in values if value is not None and math.isfinite(value) and value > 0]
        self.lowest, self.highest = (min(finite), max(finite)) if finite else (0.0, 0.0)
        self.has_zero = any(value is not None and value <= 0 for value in values)

    def ends(self, bottom: float, top: float) -> list[tuple[float, float]]:
        """The numbers at the lower and at the upper end, each with its level; one where all are the same."""
        ends = [(0.0 if self.has_zero else self.lowest, bottom), (self.highest, top)]
        return ends if ends[0][0] != ends[1][0] else ends[:1]

    def share(self, value: float) -> float:
        """How far up the scale a number is, from 0 to 1."""
        if value <= 0:
            return 0.0
        least = ABOVE_ZERO if self.has_zero else 0.0
        if self.lowest == self.highest:
            return 1.0 if self.has_zero else 0.0
        return least + (1 - least) * math.log(value / self.lowest) / math.log(self.highest / self.lowest)

    def bar(self, value: float | None) -> str:
        if value is None:
            return " "
        return BARS[round(self.share(value) * (len(BARS) - 1))] if math.isfinite(value) else NOT_FINITE


def _numbers(values: Sequence[float | None]) -> str:
    shown = ["—" if value is None else number(value) if math.isfinite(value) else "not finite" for value in values]
    if len(shown) > 5:
        shown = [shown[0], "…", *shown[-3:]]
    return " → ".join(shown)


def _with_room(labels: Sequence[str], xs: Sequence[float]) -> list[int]:
    """The places of about six labels that do not touch each other; the last is one of them."""
    chosen: list[int] = []
    places = range(len(labels))
    for place in dict.fromkeys([*places[-1:], *places[:: max(len(labels) // 6, 1)]]):
        room = [2 * abs(xs[place] - xs[other]) / (len(labels[place]) + len(labels[other]) + 1) for other in chosen]
        if all(each >= LETTER for each in room):
            chosen.append(place)
    return sorted(chosen)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{escape(printable(text))}</text>'
