"""RanksView -> text and JSON: what all ranks did, which did otherwise, and which were slow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console

from fwdtrace.compare.document import plain_row
from fwdtrace.compare.ranks.ranks import CallOnRanks, Kind, RanksView
from fwdtrace.render.lines import Line, plain, print_lines, wrapped
from fwdtrace.render.sheet import sheet_for
from fwdtrace.render.tree import tree_lines
from fwdtrace.render.words import duration, printable
from fwdtrace.trace.text import plural

FORMAT = "fwdtrace.ranks/1"
MOST_LINES = 5
"""The most differences of one kind of ranks that are listed one by one."""
MOST_SLOW = 5


def print_ranks(view: RanksView, console: Console, *, depth: int | None, fold: bool) -> None:
    """Print the tree of the ranks that do what most do, and below it what the others do."""
    for trace in view.traces:
        sheet = sheet_for(trace, console.width, console.encoding)
        print_lines([*tree_lines(trace, sheet, depth, fold), []], console)
    print_lines(_lines(view, console.width), console)


def ranks_text(view: RanksView, *, width: int = 80) -> str:
    """What is said below the trees, as plain text."""
    return plain(_lines(view, width), width)


def write_ranks(view: RanksView, stream: TextIO) -> None:
    """Write the view as one JSON document, without the traces that are shown as trees."""
    json.dump({"format": FORMAT, "parts": list(map(plain_row, view.parts)), "problems": view.problems}, stream)
    stream.write("\n")


def ranks_in_words(ranks: Sequence[int]) -> str:
    """Ranks as spans: `rank 3`, `ranks 0 to 7, 9`."""
    spans: list[list[int]] = []
    for rank in ranks:
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    texts = [f"{first}" if first == last else f"{first} to {last}" for first, last in spans]
    shown = texts if len(texts) <= 8 else [*texts[:7], f"…{len(texts) - 7} more"]
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(shown)}"


def _lines(view: RanksView, width: int) -> Iterator[Line]:
    for number, part in enumerate(view.parts):
        if number:
            yield []
        yield from _part(part, width, named=len(view.parts) > 1)
    for problem in view.problems:
        yield from wrapped(printable(problem), width, "  ", "yellow", first="  ")


def _part(part: CallOnRanks, width: int, *, named: bool) -> Iterator[Line]:
    most, *others = part.kinds
    name = f"{part.name} · " if named else ""
    total = plural(len(part.ranks), "rank")
    yield [(printable(f"{name}{total} of {part.model.rpartition('.')[2]}"), "bold")]
    if part.missing:
        yield from wrapped(f"  no file of {ranks_in_words(part.missing)}", width, "  ", "bold red")
    if not others:
        yield [(f"  all {len(part.ranks)} made the same calls with the same shapes", "")]
    else:
        yield [(f"  {len(most.ranks)} of them made the same calls with the same shapes", "")]
    for kind in others:
        yield from _kind(kind, width)
    for finding in part.findings:
        text = f"{ranks_in_words(finding.ranks)} alone: {finding.code} {finding.message}"
        yield from wrapped(printable(text), width, "    ", "", first="  ✗ ")
    (fast, fast_us), (slow, slow_us) = part.fastest, part.slowest
    spread = f"{duration(fast_us)} on rank {fast} … {duration(slow_us)} on rank {slow}"
    yield from wrapped(f"  time: {spread}, median {duration(part.median_us)}", width, "  ", "")
    for each in part.slow[:MOST_SLOW]:
        where = ""
        if each.path is not None and each.excess_us is not None:
            where = f"; of its calls {each.path} takes most of it, {duration(each.excess_us)} more than the median"
        text = f"rank {each.rank} is slow: {duration(each.duration_us)}, {each.times:.1f} × the median{where}"
        yield from wrapped(printable(text), width, "    ", "", first="  ✗ ")
    if len(part.slow) > MOST_SLOW:
        yield [(f"    and {plural(len(part.slow) - MOST_SLOW, 'more slow rank')}", "dim")]


def _kind(kind: Kind, width: int) -> Iterator[Line]:
    yield from wrapped(f"{ranks_in_words(kind.ranks)}:", width, "    ", "bold", first="  ✗ ")
    for text in kind.differences[:MOST_LINES]:
        yield from wrapped(printable(text), width, "      ", "", first="    ")
    if len(kind.differences) > MOST_LINES:
        yield [(f"    and {plural(len(kind.differences) - MOST_LINES, 'more difference')}", "dim")]
