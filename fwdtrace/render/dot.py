"""Trace -> a graph for Graphviz: the boxes and arrows of a chart, in its language DOT."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fwdtrace.render import summary
from fwdtrace.render.chart import Box, Chart, chart_of
from fwdtrace.render.sheet import sheet_for
from fwdtrace.render.totals import sizes
from fwdtrace.render.words import cut, printable
from fwdtrace.trace import Trace

LONGEST_LINE = 60
_NEW_LINE = r"\n"
_SPECIAL = str.maketrans({"\\": r"\\", '"': r"\"", "&": "&amp;"})

_STYLES = {
    "": "",
    "direct": ', color="#d1242f", penwidth=3',
    "raised": ', style=filled, fillcolor="#ffebe9", color="#d1242f", fontcolor="#82071e"',
    "marked": ', style=filled, fillcolor="#fff8c5", color="#d1242f", penwidth=3, fontcolor="#82071e"',
    "op": ', style="dashed,rounded"',
    "folded": ", style=dashed",
    "given": ", shape=plaintext",
}


def dot_text(trace: Trace, *, depth: int | None = None, fold: bool = True, only: Sequence[str] = ()) -> str:
    """The trace as a directed graph; without `depth` it is as deep as it can be read, and says how deep that is.

    `only` are patterns for what to draw, with its callers.
    """
    sheet = sheet_for(trace)
    chart = chart_of(trace, sheet, depth, fold, lambda chart: True, only)
    facts = [summary.title(trace), *summary.facts(trace, sheet), *(text for text, _ in summary.totals(trace))]
    facts += sizes(trace)
    head = (
        "digraph {",
        f"// {printable(' · '.join(facts))}",
        f"// an arrow is {chart.meaning}",
        *([f"// {printable(chart.left_out)}"] if chart.left_out else []),
        'charset="UTF-8"; compound=true; newrank=true; nodesep=0.2; ranksep=0.3;',
        'fontname="sans-serif"; node [shape=box, fontname="sans-serif"];',
    )
    return "\n".join([*head, *_boxes(chart), *_arrows(chart), "}"])


def _boxes(chart: Chart) -> Iterator[str]:
    """Every box as a node, open ones as clusters.

    What stands side by side is a cluster each, and written from the last to the first: so Graphviz has it in order.
    """
    inside: dict[str, list[Box]] = defaultdict(list)
    for box in chart.boxes:
        inside[box.around].append(box)
    waiting: list[Box | None] = [*(inside[""] if chart.sideways else reversed(inside[""]))]
    while waiting:
        next_box = waiting.pop()
        if next_box is None:
            yield "}"
            continue
        style = _STYLES[next_box.kind]
        if next_box.is_open:
            below = inside[next_box.name]
            waiting += [None, *(below if _is_sideways(chart, below[0]) else reversed(below))]
            yield f"subgraph cluster_{next_box.name} {{ label={_quoted(next_box, ' · ')}{style.replace(', ', '; ')};"
        else:
            node = f"{next_box.name} [label={_quoted(next_box, _NEW_LINE)}{style}];"
            alone = f'subgraph cluster_{next_box.name} {{ peripheries=0; label=""; {node} }}'
            yield alone if _is_sideways(chart, next_box) else node


def _is_sideways(chart: Chart, box: Box) -> bool:
    """Whether a box stands beside the others in the box around it, and not above or below them."""
    return max(box.level - 1, 0) < chart.sideways


def _arrows(chart: Chart) -> Iterator[str]:
    """Every arrow; those of an open box lead to and from nodes in it and end at its border.

    Graphviz has one direction for all, from top to bottom. An arrow to what stands beside the other leads to the same
    height, from the first node to the first.
    """
    boxes = {box.name: box for box in chart.boxes}
    ends = _ends(chart)
    for maker, user in chart.arrows:
        beside = _is_sideways(chart, boxes[user])
        options = [f"ltail=cluster_{maker}"] if boxes[maker].is_open else []
        options += [f"lhead=cluster_{user}"] if boxes[user].is_open else []
        options += ["constraint=false"] if beside else []
        shown = f" [{', '.join(options)}]" if options else ""
        yield f"{ends[maker][not beside]} -> {ends[user][0]}{shown};"


def _ends(chart: Chart) -> dict[str, tuple[str, str]]:
    """The first and the last node in each box; a node is both of its own."""
    ends: dict[str, tuple[str, str]] = {}
    for box in reversed(chart.boxes):
        first, last = ends[box.name] = ends.get(box.name, (box.name, box.name))
        ends[box.around] = first, ends.get(box.around, (first, last))[1]
    return ends


def _quoted(box: Box, separator: str) -> str:
    """The lines of a box as one string, in which nothing is read as a quote, an escape or an entity of HTML."""
    return f'"{separator.join(cut(line, LONGEST_LINE).translate(_SPECIAL) for line in box.lines)}"'
