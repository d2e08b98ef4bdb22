"""Trace, or a comparison of two -> one HTML page that needs nothing else: trees to open, search and filter.

What a row says is put in words here; `page/` holds the page that shows it. Equal rows share their words, and the page
makes what it shows of them when it shows it, so that a trace of many calls stays small and quick.
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
from fwdtrace.render import shapes, summary, words
from fwdtrace.render.details import Table, gradients, tables
from fwdtrace.render.fold import Repeat, repeats
from fwdtrace.render.shapes import Usual, usual
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Finding, Leaf, Op, TensorMeta, Trace

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
    found = {"verdict": verdict, "equal": comparison.equal, "text": rest}
    return _page(summary.title(comparison.traces[0]), {"comparison": found, "traces": views})


def _differing(comparison: TraceComparison, trace: Trace, only: str) -> list[int]:
    """The rows of the calls that a difference names; those that one side alone has are told of on that side."""
    named = {
        (difference.path, difference.nth)
        for difference in comparison.differences
        if difference.kind not in ("missing", "added") or difference.kind == only
    }
    number = {node.id: place for place, node in enumerate(summary.in_order(trace))}
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
    """The trace as the page reads it; rows are named by their number."""
    known = usual(trace)
    nodes = summary.in_order(trace)
    number = {node.id: place for place, node in enumerate(nodes)}
    calls = {call.id: call for call in trace.calls}
    kinds: dict[Call | Op, int] = {}
    rows = []
    for node in nodes:
        parent = calls[node.parent] if node.parent is not None else None
        kind = kinds.setdefault(_kind_of(node), len(kinds))
        above = -1 if node.parent is None else number[node.parent]
        rows.append([above, kind, *_own(node, parent)])
    ways = Counter(map(words.way, trace.calls)).most_common()
    return {
        "title": summary.title(trace),
        "facts": [*summary.facts(trace, known), *(text for text, _ in summary.totals(trace))],
        "rows": rows,
        "kinds": [_kind(kind, known) for kind in kinds],
        "folds": [_fold(repeat, number, calls) for repeat in repeats(trace)],
        "findings": [_finding(finding, number) for finding in trace.findings],
        "tables": [_table(table) for table in _whole(trace, ways)],
    }


def _own(node: Call | Op, parent: Call | None) -> list[Any]:
    """What a row does not share: its path, which call of the module it is, and its time.

    A path that begins with a dot is one below the caller's; None is a module outside the tree, and an op.
    """
    if isinstance(node, Op):
        return [None]
    path = node.path
    if path is not None and parent and parent.path and path.startswith(f"{parent.path}."):
        path = path[len(parent.path) :]
    time = "" if node.duration_us is None else words.duration(node.duration_us)
    return [path if path is None else printable(path), node.nth, time]


def _kind_of(node: Call | Op) -> Call | Op:
    """The row without what is its own, so that equal ones are known by it."""
    if isinstance(node, Op):
        return replace(node, id=0, parent=None)
    return replace(node, id=0, parent=None, depth=0, path="." if node.path else node.path, nth=1, duration_us=None)


def _kind(node: Call | Op, known: Usual) -> dict[str, Any]:
    """The words of equal rows; what there is not to say is left out."""
    call = node if isinstance(node, Call) else None
    found = {
        "name": printable(call.class_name if call else node.name),  # type: ignore[union-attr]
        "op": not call,
        "direct": call is not None and call.entry == "forward",
        "error": bool(node.error),
        "changed": _first_shape(node.inputs) != _first_shape(node.outputs) and not node.error,
        "called": words.entry(call) if call else "",
        "input": shapes.inputs(node, known).within(WIDEST),
        "output": shapes.outputs(node, known).within(WIDEST),
        "parameters": words.count(call.parameters) if call else "",
        "flops": words.count(call.flops, short=True) if call and call.flops else "",
        "from": words.source(node.site),
        "notes": words.marks(call) if call else [],
        "raised": _lines(f"{node.error.type}: {node.error.message}")
        if node.error and not node.error.raised_below
        else "",
        "tables": [_table(table) for table in tables(node)],
    }
    return {key: value for key, value in found.items() if value}


def _first_shape(leaves: tuple[Leaf, ...]) -> tuple[int, ...] | None:
    return next((leaf.shape for leaf in leaves if isinstance(leaf, TensorMeta)), None)


def _fold(repeat: Repeat, number: dict[int, int], calls: dict[int, Call]) -> list[Any]:
    """The row after which rows are folded, the last of them, and the words for them."""
    parent = calls.get(repeat.first[0].parent) if repeat.first[0].parent is not None else None
    return [
        number[repeat.first[-1].id],
        number[repeat.last[-1].id],
        summary.repeat_label(repeat, parent),
        summary.repeat_count(repeat),
        f"+{summary.amount_text(repeat.hidden)}",
    ]


def _finding(finding: Finding, number: dict[int, int]) -> dict[str, Any]:
    return {
        "title": printable(f"{finding.code} {finding.name}"),
        "from": words.source(finding.site),
        "message": _lines(finding.message),
        "row": None if finding.call is None else number[finding.call],
    }


def _whole(trace: Trace, ways: Iterable[tuple[str, int]]) -> Iterable[Table]:
    """What is known of the trace as a whole."""
    yield Table("ways into forward", tuple((way, f"×{times:,}") for way, times in ways))
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
    """The text, its lines kept, with everything escaped that would not be seen as itself."""
    return "\n".join(map(printable, text.splitlines()))
