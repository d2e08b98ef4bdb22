"""Trace, or a comparison of two -> one HTML page that needs nothing else: trees to open, search and filter.

The words of each row are made here; `page/` holds the page that shows them. Equal rows share their words, and the page
makes the text of a row when it shows the row, so that a trace of many calls stays small and quick.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.render import calls, shapes, summary, words
from fwdtrace.render.details import Table, gradients, tables
from fwdtrace.render.findings import Group, grouped
from fwdtrace.render.fold import Repeat, repeats
from fwdtrace.render.marks import marks_of
from fwdtrace.render.numbers import NO_GRADIENT, STATISTICS, Key, Numbers
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.side_by_side import marks_of_side, moved_weights
from fwdtrace.render.totals import sizes
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Leaf, Op, TensorMeta, Trace, shapes_in
from fwdtrace.trace.text import error_text, multiplied, source_text

WIDEST = 40
"""The cells that shapes have in a row; all of them are among the details."""

_PAGE = Path(__file__).with_name("page")


def html_text(trace: Trace) -> str:
    """The trace as a page; it allows itself no script, style or connection but its own."""
    return _page(summary.title(trace), {"traces": [_trace(trace)]})


def comparison_html(comparison: TraceComparison) -> str:
    """The two traces of a comparison side by side below what it found; ValueError if it is not of two traces."""
    if comparison.traces is None:
        raise ValueError("this comparison holds no traces")
    from fwdtrace.render.two_traces import changes_text

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
    views[1]["tables"] += [_table(table) for table in moved_weights(comparison)]
    found = {"verdict": verdict, "equal": comparison.equal, "text": rest}
    return _page(summary.title(comparison.traces[0]), {"comparison": found, "traces": views})


def _differing(comparison: TraceComparison, trace: Trace, only: str) -> list[int]:
    """The rows of the calls that a difference names; those that one side alone has are told of on that side."""
    named = {
        (difference.path, difference.nth)
        for difference in comparison.differences
        if difference.kind not in ("missing", "added") or difference.kind == only
    }
    number = {event.id: place for place, event in enumerate(trace.events)}
    return [number[call.id] for call in trace.calls if (call.path or "", call.nth) in named]


def _page(title: str, shown: dict[str, Any]) -> str:
    style, script = ((_PAGE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    data = json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c")
    page = (_PAGE / "page.html").read_text(encoding="utf-8")
    parts = {
        "title": escape(title),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "data": data,
    }
    pieces = page.split("@@")  # every other piece is the name of a part
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _trace(trace: Trace) -> dict[str, Any]:
    """The trace as the script of the page reads it; it names rows by their number."""
    sheet, numbers = sheet_for(trace), Numbers(trace)
    number = {event.id: place for place, event in enumerate(trace.events)}
    kinds: dict[Event, int] = {}
    rows = []
    for event in trace.events:
        kind = kinds.setdefault(_kind_of(event), len(kinds))
        above = -1 if event.parent is None else number[event.parent]
        rows.append([above, kind, *_own(event, trace.caller(event), numbers)])
    ways = Counter(map(calls.way, trace.calls)).most_common()
    return {
        "title": summary.title(trace),
        "facts": [*summary.facts(trace, sheet), *(text for text, _ in summary.totals(trace)), *sizes(trace)],
        "rows": rows,
        "kinds": [_kind(kind, sheet, numbers) for kind in kinds],
        "flow": [_flow(event, number) for event in trace.events] if trace.flow.is_known else [],
        "folds": [_fold(repeat, number, trace, sheet) for repeat in repeats(trace)],
        "findings": [_finding(group, number, sheet) for group in grouped(trace)],
        "marks": {number[id]: list(map(printable, texts)) for id, texts in marks_of(trace).items()},
        "tables": [_table(table) for table in _whole(trace, ways)],
    }


def _own(event: Event, parent: Call | None, numbers: Numbers) -> list[Any]:
    """What a row does not share with equal ones: its path, which call of the module it is, its time and its gradient.

    A path that begins with a dot goes on from that of the caller; it is None for an op and outside the tree.
    """
    if isinstance(event, Op):
        return [None]
    path = event.path
    if path is not None and parent and parent.path and path.startswith(f"{parent.path}."):
        path = path[len(parent.path) :]
    time = "" if event.duration_us is None else words.duration(event.duration_us)
    if event.host_us is not None:
        time += f" device, {words.duration(event.host_us)} host"
    norm = numbers.of(event, "grad")
    gradient = [] if norm is None else ["none" if norm == NO_GRADIENT else words.number(norm)]
    return [path if path is None else printable(path), event.nth, time, *gradient]


def _kind_of(event: Event) -> Event:
    """The call or op without what is its own, so that equal ones compare equal."""
    leaves: dict[str, Any] = {"inputs": _unplaced(event.inputs), "outputs": _unplaced(event.outputs)}
    if isinstance(event, Op):
        return replace(event, id=0, parent=None, **leaves)
    path = "." if event.path else event.path
    leaves |= {
        name: _unplaced(between)
        for name in ("forward_inputs", "forward_outputs")
        if (between := getattr(event, name)) is not None
    }
    return replace(event, id=0, parent=None, depth=0, path=path, nth=1, duration_us=None, host_us=None, **leaves)


def _unplaced(leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """The leaves without where they came from."""
    if not any(isinstance(leaf, TensorMeta) and (leaf.source or leaf.changed_by is not None) for leaf in leaves):
        return leaves
    return tuple([_without_source(leaf) if isinstance(leaf, TensorMeta) else leaf for leaf in leaves])


def _without_source(leaf: TensorMeta) -> TensorMeta:
    """The same as `replace` makes, in a third of the time."""
    traits = leaf.name, leaf.shape, leaf.dtype, leaf.device, leaf.requires_grad, leaf.layout
    return TensorMeta(*traits, leaf.stats, leaf.placements, leaf.local_shape)


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


def _kind(event: Event, sheet: Sheet, numbers: Numbers) -> dict[str, Any]:
    """The words that equal rows share; what is empty is left out."""
    call = event if isinstance(event, Call) else None
    shared = {
        "name": printable(event.name if isinstance(event, Op) else event.class_name),
        "op": not call,
        "direct": call is not None and call.entry == "forward",
        "error": bool(event.error),
        "changed": shapes_in(event.inputs)[:1] != shapes_in(event.outputs)[:1] and not event.error,
        "called": calls.entry(call) if call else "",
        "input": shapes.inputs(event, sheet).within(WIDEST),
        "output": shapes.outputs(event, sheet).within(WIDEST),
        "parameters": words.count(call.parameters) if call else "",
        "flops": words.count(call.flops, short=True) if call and call.flops else "",
        "from": calls.source(event.site, sheet),
        "notes": calls.marks(call) if call else [],
        "raised": _lines(error_text(event.error)) if event.error and not event.error.raised_below else "",
        "tables": [_table(table) for table in tables(event)],
    }
    measured: list[tuple[Key, float | None]] = [(key, numbers.of(event, key)) for key in (*STATISTICS, "nan")]
    shared |= {key: words.number(number) for key, number in measured if number is not None}
    if call and call.memory_bytes is not None:
        shared["memory"] = words.size(call.memory_bytes) or "0 B"
    return {key: value for key, value in shared.items() if value}


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


def _table(table: Table) -> list[Any]:
    rows = [[_lines(cell) for cell in row] for row in table.rows]
    return [table.title, list(table.head), rows]


def _lines(text: str) -> str:
    """The text line by line, with everything escaped that would not be seen as itself."""
    return "\n".join(map(printable, text.splitlines()))
