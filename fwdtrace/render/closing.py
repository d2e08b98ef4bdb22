"""What stands below every text of a trace: its totals, then the findings, as what is most useful comes last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.cells import cell_len

from fwdtrace.render import calls, summary
from fwdtrace.render.findings import Group, grouped
from fwdtrace.render.happened import happened_lines, magnitude_lines
from fwdtrace.render.lines import Line
from fwdtrace.render.sheet import Sheet
from fwdtrace.render.totals import sizes
from fwdtrace.render.words import cut, wrapped
from fwdtrace.trace import Trace
from fwdtrace.trace.text import multiplied, plural

MOST_CHAINS = 4
MOST_FINDINGS = 25


def totals_and_findings(trace: Trace, sheet: Sheet) -> Iterator[Line]:
    """The totals, the ways into `forward`, and below an empty line the findings."""
    yield from _totals(trace, sheet)
    yield from findings_below(trace, sheet)


def findings_below(trace: Trace, sheet: Sheet) -> Iterator[Line]:
    """The findings below an empty line; nothing if there are none."""
    groups = grouped(trace)
    if groups:
        yield []
    for group in groups[:MOST_FINDINGS]:
        yield from _finding(group, sheet)
    left = len(groups) - MOST_FINDINGS
    if left > 0:
        yield [(f"{plural(left, 'more finding')}, --json has all", "dim")]


def _finding(group: Group, sheet: Sheet) -> Iterator[Line]:
    title = cut(sheet.text(group.title), sheet.width)
    where = calls.source(group.site, sheet)
    yield [(title, "bold yellow"), (f"  {cut(where, sheet.width - cell_len(title) - 2)}" if where else "", "dim")]
    for paragraph in group.messages:
        for part in wrapped(sheet.text(paragraph), sheet.width - 2):
            yield [(f"  {part}", "")]


def _totals(trace: Trace, sheet: Sheet) -> Iterator[Line]:
    """The totals, and the functions that ran between a caller and `forward`, the most frequent way first."""
    for text in happened_lines(trace.run):
        for part in wrapped(sheet.text(text), sheet.width):
            yield [(part, "")]
    magnitudes = magnitude_lines(trace, sheet.width)
    for text in magnitudes:
        yield [(sheet.text(text), "")]
    if magnitudes:
        yield []
    yield from _facts(summary.totals(trace), sheet)
    yield from _facts([(text, "") for text in sizes(trace)], sheet)
    ways = Counter(map(calls.way, trace.calls)).most_common()
    for number, (way, times) in enumerate(ways[:MOST_CHAINS]):
        text = cut(sheet.text(way), sheet.width - 10 - len(f"{times:,}"))
        yield [("       " if number else "chain  ", "dim"), (text, "dim"), (f"  {multiplied(times)}", "dim")]
    if len(ways) > MOST_CHAINS:
        rest = sum(times for _, times in ways[MOST_CHAINS:])
        yield [(f"       {len(ways) - MOST_CHAINS} other ways, {multiplied(rest)}, --json has all", "dim")]


def _facts(facts: list[tuple[str, str]], sheet: Sheet) -> Iterator[Line]:
    """The facts with their styles, as many on a line as fit."""
    line: Line = []
    for text, style in facts:
        shown = cut(text, sheet.width)
        if line and sum(cell_len(piece) for piece, _ in line) + 3 + cell_len(shown) > sheet.width:
            yield line
            line = []
        line += [(" · ", "dim"), (shown, style)] if line else [(shown, style)]
    if line:
        yield line
