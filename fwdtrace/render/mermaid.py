"""Trace -> a Mermaid flowchart: boxes in boxes, and an arrow for each way that data took.

In a trace that does not know where tensors came from, an arrow leads from each box to what ran next.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from fwdtrace.render import summary
from fwdtrace.render.chart import Box, Chart, chart_of
from fwdtrace.render.sheet import sheet_for
from fwdtrace.render.totals import sizes
from fwdtrace.render.words import cut
from fwdtrace.trace import Trace

MOST_ARROWS = 500
MOST_LETTERS = 50_000
"""Mermaid draws no chart above these, unless its page sets `maxEdges` and `maxTextSize`."""

LONGEST_LINE = 60
_SPECIAL = re.compile(r"[^\w ,()/=×→…✗·'.+-]|[.+-](?!\w)")
"""Characters that Mermaid, or the Markdown and HTML in it, could read as more than themselves."""

_SPACES = '%%{init: {"flowchart": {"nodeSpacing": 20, "rankSpacing": 5, "padding": 8}}}%%'

_STYLES = {
    "direct": "stroke:#d1242f,stroke-width:3px",
    "raised": "fill:#ffebe9,stroke:#d1242f,color:#82071e",
    "marked": "fill:#fff8c5,stroke:#d1242f,stroke-width:3px,color:#82071e",
    "op": "fill:none,stroke-dasharray:3",
    "folded": "stroke-dasharray:6 3",
    "given": "fill:none,stroke:none",
}


def mermaid_text(trace: Trace, *, depth: int | None = None, fold: bool = True, only: Sequence[str] = ()) -> str:
    """The trace as a flowchart; without `depth` it is as deep as it can be read, and says how deep that is.

    `only` are patterns for what to draw, with its callers.
    """
    sheet = sheet_for(trace)
    facts = [summary.title(trace), *summary.facts(trace, sheet), *(text for text, _ in summary.totals(trace))]
    facts += sizes(trace)
    chart = chart_of(trace, sheet, depth, fold, _is_drawn, only)
    head = [_SPACES, f"flowchart {_direction(chart, 0)}", f"%% {' · '.join(facts)}", f"%% an arrow is {chart.meaning}"]
    head += [f"%% {chart.left_out}"] if chart.left_out else []
    return "\n".join([*head, *_body(chart)])


def _is_drawn(chart: Chart) -> bool:
    """Whether Mermaid draws the chart."""
    letters = sum(len(line) + 1 for line in _body(chart))
    return len(chart.arrows) < MOST_ARROWS and letters < MOST_LETTERS - 1000


def _direction(chart: Chart, level: int) -> str:
    return "LR" if level < chart.sideways else "TB"


def _body(chart: Chart) -> Iterator[str]:
    """The boxes as nodes, open ones as subgraphs, and in each the arrows, without which Mermaid may fail to draw it."""
    around = {box.name: box.around for box in chart.boxes}
    arrows: dict[str, list[str]] = defaultdict(list)
    for maker, user in chart.arrows:
        arrows[around[maker]].append(f"{maker} --> {user}")
    open_boxes: list[Box] = []
    for box in chart.boxes:
        while open_boxes and open_boxes[-1].level >= box.level:
            yield from arrows[open_boxes.pop().name]
            yield "end"
        if box.is_open:
            # the title of a subgraph has room for one line
            yield f"subgraph {_node(box, ' · ')}"
            yield f"direction {_direction(chart, box.level)}"
            open_boxes.append(box)
        else:
            yield _node(box)
    for box in reversed(open_boxes):
        yield from arrows[box.name]
        yield "end"
    yield from arrows[""]
    for style in _STYLES:
        if styled := [box.name for box in chart.boxes if box.kind == style]:
            yield f"classDef {style} {_STYLES[style]}"
            yield f"class {','.join(styled)} {style}"


def _node(box: Box, separator: str = "<br>") -> str:
    text = separator.join(_escaped(line) for line in box.lines)
    return f'{box.name}("{text}")' if box.kind in ("op", "given") else f'{box.name}["{text}"]'


def _escaped(line: str) -> str:
    return _SPECIAL.sub(_code, cut(line, LONGEST_LINE))


def _code(match: re.Match[str]) -> str:
    """The code of a character. A word joiner follows a backslash, or Mermaid would read it and an n as a new line."""
    return f"#{ord(match[0])};" + "#8288;" * (match[0] == "\\")
