"""Trace, or a comparison of two -> one HTML page that needs nothing else: trees to open, search and filter.

The words of each row are made here; `page/` holds the page that shows them. Rows of one kind share their words
(`page_rows.py`), the page makes the text of a row when it shows the row, and what is large is compressed, so that a
trace of many calls stays small and quick.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.render import calls, summary
from fwdtrace.render.compared_page import HEADS, apart_rows, comparison_charts
from fwdtrace.render.details import Table, gradients, place
from fwdtrace.render.findings import Group, grouped
from fwdtrace.render.fold import Repeat, repeats
from fwdtrace.render.happened import charts, happened_lines
from fwdtrace.render.marks import marks_of
from fwdtrace.render.numbers import Numbers
from fwdtrace.render.page_rows import APART, kind_of, lines_of, own_texts, words_of
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.side_by_side import marks_of_side, moved_weights
from fwdtrace.render.totals import sizes
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Leaf, Op, Site, TensorMeta, Trace
from fwdtrace.trace.garbage import nothing_collected
from fwdtrace.trace.text import multiplied, source_text

QUICKLY = 3
"""The level of compression: a higher one takes twice the time for a few percent less."""

LARGEST_PLAIN = 200_000
"""The characters of data above which it is compressed."""

_PAGE = Path(__file__).with_name("page")


def html_text(trace: Trace) -> str:
    """The trace as a page; it allows itself no script, style or connection but its own."""
    with nothing_collected():
        return _page(summary.title(trace), {"traces": [_trace(trace)]}, charts(trace))


def comparison_html(comparison: TraceComparison) -> str:
    """The two traces of a comparison side by side below what it found; ValueError if it is not of two traces."""
    if comparison.traces is None:
        raise ValueError("this comparison holds no traces")
    from fwdtrace.render.two_traces import changes_text

    with nothing_collected():
        verdict, _, rest = changes_text(comparison, width=100).partition("\n\n")
        views = [_trace(trace) for trace in comparison.traces]
        for view, trace, side, only in zip(
            views, comparison.traces, ("first", "second"), ("missing", "added"), strict=True
        ):
            view["title"] = f"{side} · {view['title']}"
            view["differs"] = _differing(comparison, trace, only)
            number = {event.id: place for place, event in enumerate(trace.events)}
            for id, texts in marks_of_side(comparison, side == "second").items():
                view["marks"].setdefault(number[id], []).extend(map(printable, texts))
        views[1]["tables"] += [lines_of(table) for table in moved_weights(comparison)]
        apart = [[list(row.cells), row.first, row.second] for row in apart_rows(comparison)]
        found = {
            "verdict": verdict.replace("\n", " "),
            "equal": comparison.equal,
            "text": rest,
            "heads": HEADS,
            "apart": apart,
        }
        shown = {"comparison": found, "traces": views}
        return _page(summary.title(comparison.traces[0]), shown, comparison_charts(comparison))


def _differing(comparison: TraceComparison, trace: Trace, only: str) -> list[int]:
    """The rows of the calls that a difference names; those that one side alone has are named on that side."""
    named = {
        (difference.path, difference.nth)
        for difference in comparison.differences
        if difference.kind not in ("missing", "added") or difference.kind == only
    }
    of_tensors = [each.path for each in comparison.differences if each.kind in ("gradient", "weight", "replica")]
    holders = {path.rpartition(".")[0] for path in of_tensors}
    number = {event.id: place for place, event in enumerate(trace.events)}
    return [number[call.id] for call in trace.calls if (call.path or "", call.nth) in named or call.path in holders]


def _page(title: str, shown: dict[str, Any], charts: Iterable[str] = ()) -> str:
    style, script = ((_PAGE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    data = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    packed = len(data) > LARGEST_PLAIN
    page = (_PAGE / "page.html").read_text(encoding="utf-8")
    parts = {
        "title": escape(title),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "type": "application/octet-stream" if packed else "application/json",
        "charts": "".join(f'<figure class="growth">{chart}</figure>' for chart in charts),
        "data": base64.b64encode(zlib.compress(data.encode(), QUICKLY)).decode() if packed else data,
    }
    pieces = page.split("@@")  # every other piece is the name of a part
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _trace(trace: Trace) -> dict[str, Any]:
    """The trace as the script of the page reads it; it names rows by their number.

    A row is what called it, its kind, its line, its path, which call of the module it is, and its own texts in one. A
    number in the words of a kind is the place of such a text. A path that begins with a dot goes on from that of the
    caller; it is None for an op and outside the tree.
    """
    sheet, numbers = sheet_for(trace), Numbers(trace)
    number = {event.id: place for place, event in enumerate(trace.events)}
    kinds: dict[Hashable, int] = {}
    words: list[dict[str, Any]] = []
    sites: dict[Site | None, int] = {None: 0}
    places: dict[int, int] = {}  # by the id of a site, as many rows share one
    rows = []
    for event in trace.events:
        own = own_texts(event, sheet, numbers)
        kind = kinds.setdefault(kind_of(event, own), len(kinds))
        if kind == len(words):
            words.append(words_of(event, own))
        above = -1 if event.parent is None else number[event.parent]
        path, nth = _name(event, trace.caller(event))
        place = places.get(id(event.site))
        if place is None:
            place = places[id(event.site)] = sites.setdefault(event.site, len(sites))
        rows.append([above, kind, place, path, nth, APART.join(own.texts)])
    ways = Counter(map(calls.way, trace.calls)).most_common()
    return {
        "title": summary.title(trace),
        "happened": list(map(printable, happened_lines(trace.run))),
        "facts": [*summary.facts(trace, sheet), *(text for text, _ in summary.totals(trace)), *sizes(trace)],
        "rows": rows,
        "kinds": words,
        "sites": [_site(site, sheet) for site in sites],
        "flow": [_flow(event, number) for event in trace.events] if trace.flow.is_known else [],
        "folds": [_fold(repeat, number, trace, sheet) for repeat in repeats(trace)],
        "findings": [_finding(group, number, sheet) for group in grouped(trace)],
        "marks": {number[id]: list(map(printable, texts)) for id, texts in marks_of(trace).items()},
        "tables": [lines_of(table) for table in _whole(trace, ways)],
    }


def _name(event: Event, parent: Call | None) -> tuple[str | None, int]:
    if isinstance(event, Op):
        return None, 1
    path = event.path
    if path is None:
        return None, event.nth
    if parent and parent.path and path.startswith(f"{parent.path}."):
        path = path[len(parent.path) :]
    return printable(path), event.nth


def _site(site: Site | None, sheet: Sheet) -> list[Any]:
    """The line in short, and the table with all of it; nothing where it is not known."""
    return [] if site is None else [calls.source(site, sheet), lines_of(place(site))]


def _flow(event: Event, number: dict[int, int]) -> list[list[Any]]:
    """Where each leaf of the inputs and of the outputs came from.

    A row is named by how far it is above this one, and a place among its outputs that is not the first follows; other
    sources are words. A row that wrote into the tensor since comes last, after all of these. None is not known, and ""
    is a leaf that is no tensor.
    """
    here = number[event.id]

    def origin(leaf: Leaf) -> Any:
        if not isinstance(leaf, TensorMeta):
            return ""
        if leaf.source is None and leaf.changed_by is None:
            return None
        source = leaf.source
        made: list[Any] = [None, 0]
        if source is not None and source.id is not None and source.call is None:
            made = [here - number[source.id], source.output]
        elif source is not None:
            made = [printable(source_text(replace(leaf, changed_by=None))), 0]
        if leaf.changed_by is not None:
            return [*made, here - number[leaf.changed_by]]
        return made if made[1] else made[0]

    return [[origin(leaf) for leaf in event.inputs], [origin(leaf) for leaf in event.outputs]]


def _fold(repeat: Repeat, number: dict[int, int], trace: Trace, sheet: Sheet) -> list[Any]:
    """The row after which rows are folded, the last of these, and the words in their place."""
    return [
        number[repeat.first[-1].id],
        number[repeat.last[-1].id],
        calls.repeat_label(repeat, trace.caller(repeat.first[0]), sheet),
        calls.repeat_count(repeat, sheet),
        f"+{calls.amount_text(repeat.hidden)}",
    ]


def _finding(group: Group, number: dict[int, int], sheet: Sheet) -> dict[str, Any]:
    """The findings of a group, with the rows that they are about."""
    return {
        "title": printable(group.title),
        "from": calls.source(group.site, sheet),
        "message": "\n".join(map(printable, group.messages)),
        "rows": list(dict.fromkeys(number[each.call] for each in group.findings if each.call is not None)),
    }


def _whole(trace: Trace, ways: Iterable[tuple[str, int]]) -> Iterable[Table]:
    """The tables about the trace as a whole."""
    yield Table("ways into forward", tuple((way, multiplied(times)) for way, times in ways))
    if trace.uncalled:
        rows = tuple((module.path, module.class_name, f"{module.parameters:,}") for module in trace.uncalled)
        yield Table("did not run", rows, ("module", "class", "params"))
    if trace.gradients is not None:
        yield gradients(trace.gradients)
    versions = trace.versions
    yield Table("recorded with", tuple((name, getattr(versions, name)) for name in ("fwdtrace", "torch", "python")))
