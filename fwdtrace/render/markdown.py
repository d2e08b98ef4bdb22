"""Trace -> Markdown for an issue or a pull request: the facts, what was found, and a table with a row a call."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fwdtrace.render import calls, shapes, summary, words
from fwdtrace.render.fold import Repeat, Row, tree_rows
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Trace
from fwdtrace.trace.text import error_text

MOST_OPEN_ROWS = 40
"""A longer table begins closed: who wants it opens it, and the discussion below stays in sight."""

_MARKUP = re.compile(r"([\\`*_\[\]<>|~$&])")
_REFERENCE = re.compile(r"(?<=[@#])(?=\w)|(?<=:)(?=[\w+-]+:)|(?<=GH)(?=-\d)|(?<=http)(?=s?://)|(?<=www)(?=\.)")
"""Where GitHub would find a person to notify, another issue, an emoji or a link."""


def markdown_text(trace: Trace, *, depth: int | None = None, fold: bool = True) -> str:
    """The trace as Markdown; `depth` leaves out deeper calls, `fold` folds equal ones."""
    sheet = sheet_for(trace)
    facts = [*summary.facts(trace, sheet), *(text for text, _ in summary.totals(trace))]
    parts = [f"### {_code(summary.title(trace))}", " · ".join(map(_plain, facts))]
    parts += ["\n".join(_findings(trace, sheet))] if trace.findings else []
    rows = list(tree_rows(trace, depth=depth, fold=fold, deepest=1))
    if rows:
        table = "\n".join(_table(rows, trace, sheet))
        long = len(rows) > MOST_OPEN_ROWS
        parts.append(f"<details><summary>{len(rows):,} rows</summary>\n\n{table}\n\n</details>" if long else table)
    return "\n\n".join(parts)


def _findings(trace: Trace, sheet: Sheet) -> Iterator[str]:
    for finding in trace.findings:
        where = f" {_code(calls.source(finding.site, sheet))}" if finding.site else ""
        message = "<br>".join(_plain(line) for line in finding.message.splitlines())
        yield f"- **{_plain(f'{finding.code} {finding.name}')}**{where}: {message}"


def _table(rows: list[Row], trace: Trace, sheet: Sheet) -> Iterator[str]:
    """The header and a line for each row; FLOPs and notes have a column if there are any."""
    texts = [_repeat(row, row.entry, sheet) if isinstance(row.entry, Repeat) else _cells(row, sheet) for row in rows]
    titles = ["module", "called", "input", "output", "params", "FLOPs", "from", "notes"]
    shown = [number for number in range(len(titles)) if any(cells[number] for cells in texts)]
    yield _line([titles[number] for number in shown])
    yield _line(["--:" if titles[number] in ("params", "FLOPs") else "---" for number in shown])
    for cells in texts:
        yield _line([cells[number] for number in shown])


def _cells(row: Row, sheet: Sheet) -> list[str]:
    event = row.entry
    assert not isinstance(event, Repeat)
    call = event if isinstance(event, Call) else None
    name = _indented(row, _code(calls.label(event, row.parent, sheet)))
    notes = [_plain(mark) for mark in calls.marks(call)] if call else []
    if event.error and not event.error.raised_below:
        notes.append(f"✗ {_code(error_text(event.error))}")
    if any(row.cut):
        notes.append(f"+{calls.amount_text(row.cut)}, `--depth {row.level + 1}` shows more")
    direct = call is not None and call.entry == "forward"
    return [
        f"{name} {_plain(call.class_name)}" if call and call.path else name,
        "**forward DIRECT**" if direct else _code(calls.entry(call)) if call else "",
        _plain(shapes.inputs(event, sheet).whole),
        _plain(shapes.outputs(event, sheet).whole),
        words.count(call.parameters) if call else "",
        words.count(call.flops, short=True) if call and call.flops else "",
        _code(calls.source(event.site, sheet)),
        " · ".join(notes),
    ]


def _repeat(row: Row, repeat: Repeat, sheet: Sheet) -> list[str]:
    label = _indented(row, _code(calls.repeat_label(repeat, row.parent, sheet)))
    hidden = f"+{calls.amount_text(repeat.hidden)}, `--no-fold` shows them"
    return [f"{label} {_plain(calls.repeat_count(repeat, sheet))}", *[""] * 6, hidden]


def _indented(row: Row, text: str) -> str:
    return "&emsp;" * row.level + text


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text that Markdown and GitHub leave as it is."""
    # A comment parts what would be a reference, and is not seen; a backslash would not hold GitHub from it.
    parts = _REFERENCE.split(printable(text))
    return "<!-- -->".join(_MARKUP.sub(r"\\\1", part) for part in parts)


def _code(text: str) -> str:
    """Text in a code span; in HTML if it has what ends a code span, or a cell of the table."""
    text = printable(text)
    if not text.strip():
        return _plain(text)
    if "`" not in text and "|" not in text and text == text.strip():
        return f"`{text}`"
    return f"<code>{''.join(char if char.isalnum() else f'&#{ord(char)};' for char in text)}</code>"
