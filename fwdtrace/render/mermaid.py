"""Trace -> a Mermaid flowchart: modules inside those that called them, and an arrow for each way that data took.

In a trace that does not know where tensors came from, an arrow leads from each module to what ran next.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise

from fwdtrace.render import calls, shapes, summary
from fwdtrace.render.fold import Repeat
from fwdtrace.render.rows import Row, tree_rows
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.words import cut, printable
from fwdtrace.trace import Call, Event, Op, Trace, tensors_in
from fwdtrace.trace.text import error_text

MOST_ARROWS = 500
MOST_LETTERS = 50_000
"""Mermaid draws no chart above these, unless its page sets `maxEdges` and `maxTextSize`."""

LONGEST_LINE = 60
_SPECIAL = re.compile(r"[^\w ,()/=×→…✗·'.+-]|[.+-](?!\w)")
"""Characters that Mermaid, or the Markdown and HTML in it, could read as more than themselves."""

_STYLES = {
    "direct": "stroke:#d1242f,stroke-width:3px",
    "raised": "fill:#ffebe9,stroke:#d1242f,color:#82071e",
    "op": "fill:none,stroke-dasharray:3",
    "folded": "stroke-dasharray:6 3",
}


def mermaid_text(trace: Trace, *, depth: int | None = None, fold: bool = True) -> str:
    """The trace as a flowchart; without `depth` it is as deep as Mermaid draws it, and says what it leaves out."""
    sheet = sheet_for(trace)
    facts = [summary.title(trace), *summary.facts(trace, sheet), *(text for text, _ in summary.totals(trace))]
    rows = list(tree_rows(trace, depth=depth, fold=fold, deepest=1))
    if depth is None and (deepest := _deepest_that_fits(rows, sheet)) is not None:
        rows = list(tree_rows(trace, depth=deepest, fold=fold, deepest=1))
    flows = any(leaf.source is not None for event in trace.events for leaf in tensors_in(event.inputs))
    meaning = "a way that data took" if flows else "the order of running, not a flow of data"
    arrows = _ways_of_data(rows, trace) if flows else list(pairwise(_leaf_rows(rows)))
    while depth is None and len(arrows) >= MOST_ARROWS and (deepest := max(row.level for row in rows) - 1) > 0:
        rows = list(tree_rows(trace, depth=deepest, fold=fold, deepest=1))
        arrows = _ways_of_data(rows, trace) if flows else list(pairwise(_leaf_rows(rows)))
    head = ["flowchart TB", f"%% {' · '.join(facts)}", f"%% an arrow is {meaning}"]
    return "\n".join([*head, *_body(rows, arrows, sheet)])


def _leaf_rows(rows: list[Row]) -> list[int]:
    """The numbers of the rows that have no row below them."""
    levels = [row.level for row in rows]
    return [number for number, level in enumerate(levels) if number + 1 == len(levels) or levels[number + 1] <= level]


def _ways_of_data(rows: list[Row], trace: Trace) -> list[tuple[int, int]]:
    """Which row gave a tensor to which other row, each pair once, in order of the rows that were given it."""
    begins = [_begin(row, trace) for row in rows]
    leaves = set(_leaf_rows(rows))
    ways: dict[tuple[int, int], None] = {}
    for event in trace.events:
        user = _row_of(event, rows, begins, trace)
        if user is None or user not in leaves:  # what is inside a module was given the same tensors as the module
            continue
        for producer in trace.flow.producers(event):
            maker = _row_of(producer, rows, begins, trace)
            if maker is not None and maker != user:
                ways[maker, user] = None
    return list(ways)


def _begin(row: Row, trace: Trace) -> int:
    """The id of the first call or op that a row stands for."""
    return trace.end(row.entry.first[-1]) + 1 if isinstance(row.entry, Repeat) else row.entry.id


def _row_of(event: Event, rows: list[Row], begins: list[int], trace: Trace) -> int | None:
    """The number of the row that shows a call or op, or the call or the repeat that it is in."""
    number = bisect_right(begins, event.id) - 1
    while number >= 0:
        entry = rows[number].entry
        if isinstance(entry, Repeat):
            if event.id <= trace.end(entry.last[-1]):
                return number
        elif entry.id == event.id or any(caller.id == entry.id for caller in trace.callers(event)):
            return number
        number -= 1
    return None


def _deepest_that_fits(rows: list[Row], sheet: Sheet) -> int | None:
    """The depth down to which Mermaid draws all rows; None if it draws every row of every depth."""
    letters: Counter[int] = Counter()
    arrows: Counter[int] = Counter()
    for number, row in enumerate(rows):
        letters[row.level] += len(_node(number, row, sheet)) + len("\nn9999 --> n9999\nsubgraph direction TB end class")
        arrows[row.level] += 1
    levels = sorted(letters)
    fits = [
        total < MOST_LETTERS and number < MOST_ARROWS
        for total, number in zip(
            accumulate(letters[level] for level in levels), accumulate(arrows[level] for level in levels), strict=True
        )
    ]
    return None if all(fits) else max(fits.index(False) - 1, 1)


def _body(rows: list[Row], arrows: list[tuple[int, int]], sheet: Sheet) -> Iterator[str]:
    """The rows as nodes, those with something below them as subgraphs, and the arrows."""
    levels = [row.level for row in rows]
    open_subgraphs: list[int] = []
    for number, (row, next_level) in enumerate(zip(rows, [*levels[1:], 0], strict=False)):
        while open_subgraphs and open_subgraphs[-1] >= row.level:
            yield "end"
            open_subgraphs.pop()
        if next_level > row.level:
            # the title of a subgraph has room for one line
            yield f"subgraph {_node(number, row, sheet, ' · ')}"
            yield "direction TB"
            open_subgraphs.append(row.level)
        else:
            yield _node(number, row, sheet)
    yield from ("end" for _ in open_subgraphs)
    yield from (f"n{number} --> n{following}" for number, following in arrows)
    for style in _STYLES:
        if styled := [f"n{number}" for number, row in enumerate(rows) if _style(row) == style]:
            yield f"classDef {style} {_STYLES[style]}"
            yield f"class {','.join(styled)} {style}"


def _node(number: int, row: Row, sheet: Sheet, separator: str = "<br>") -> str:
    text = separator.join(_escaped(line) for line in _label(row, sheet))
    return f'n{number}("{text}")' if isinstance(row.entry, Op) else f'n{number}["{text}"]'


def _label(row: Row, sheet: Sheet) -> Iterator[str]:
    entry = row.entry
    if isinstance(entry, Repeat):
        yield calls.repeat_label(entry, row.parent, sheet)
        yield calls.repeat_count(entry, sheet)
        yield f"+{calls.amount_text(entry.hidden)}, --no-fold shows them"
        return
    name = calls.label(entry, row.parent, sheet)
    yield f"{name} {printable(entry.class_name)}" if isinstance(entry, Call) and entry.path else name
    yield f"{shapes.inputs(entry, sheet).least} → {shapes.outputs(entry, sheet).least}"
    if isinstance(entry, Call):
        if entry.entry == "forward":
            yield calls.entry(entry)
        yield from calls.marks(entry)
    if entry.error and not entry.error.raised_below:
        yield f"✗ {sheet.text(error_text(entry.error))}"
    if any(row.cut):
        yield f"+{calls.amount_text(row.cut)}, --depth {row.level + 1} shows more"


def _style(row: Row) -> str:
    entry = row.entry
    if isinstance(entry, Repeat):
        return "folded"
    if entry.error:
        return "raised"
    if isinstance(entry, Op):
        return "op"
    return "direct" if entry.entry == "forward" else ""


def _escaped(line: str) -> str:
    return _SPECIAL.sub(_code, cut(line, LONGEST_LINE))


def _code(match: re.Match[str]) -> str:
    """The code of a character. A word joiner follows a backslash, or Mermaid would read it and an n as a new line."""
    return f"#{ord(match[0])};" + "#8288;" * (match[0] == "\\")
