"""Trace -> Markdown for an issue or a pull request: the facts, the findings, and a table with a row for each call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fwdtrace.render import calls, shapes, summary, words
from fwdtrace.render.fold import Repeat
from fwdtrace.render.rows import Row, tree_rows
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Trace, tensors_in
from fwdtrace.trace.text import error_text, source_text

MOST_OPEN_ROWS = 40
"""A longer table is closed at first, so that what stands below it on the page stays in sight."""

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
        table = "\n".join(_table(rows, sheet))
        long = len(rows) > MOST_OPEN_ROWS
        parts.append(f"<details><summary>{len(rows):,} rows</summary>\n\n{table}\n\n</details>" if long else table)
    return "\n\n".join(parts)


def _findings(trace: Trace, sheet: Sheet) -> Iterator[str]:
    for finding in trace.findings:
        where = f" {_code(calls.source(finding.site, sheet))}" if finding.site else ""
        message = "<br>".join(_plain(line) for line in finding.message.splitlines())
        yield f"- **{_plain(f'{finding.code} {finding.name}')}**{where}: {message}"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its title, and its cell for a row with a call or op; `numbers` stand at its right edge."""

    title: str
    cell: Callable[[Row, Event, Sheet], str]
    numbers: bool = False


def _name(row: Row, event: Event, sheet: Sheet) -> str:
    name = _indented(row, _code(calls.label(event, row.parent, sheet)))
    return f"{name} {_plain(event.class_name)}" if isinstance(event, Call) and event.path else name


def _entry(row: Row, event: Event, sheet: Sheet) -> str:
    if not isinstance(event, Call):
        return ""
    return "**forward DIRECT**" if event.entry == "forward" else _code(calls.entry(event))


def _parameters(row: Row, event: Event, sheet: Sheet) -> str:
    return words.count(event.parameters) if isinstance(event, Call) else ""


def _flops(row: Row, event: Event, sheet: Sheet) -> str:
    return words.count(event.flops, short=True) if isinstance(event, Call) and event.flops else ""


def _notes(row: Row, event: Event, sheet: Sheet) -> str:
    notes = [_plain(mark) for mark in calls.marks(event)] if isinstance(event, Call) else []
    if event.error and not event.error.raised_below:
        notes.append(f"✗ {_code(error_text(event.error))}")
    if any(row.cut):
        notes.append(f"+{calls.amount_text(row.cut)}, `--depth {row.level + 1}` shows more")
    return " · ".join(notes)


def _data_from(row: Row, event: Event, sheet: Sheet) -> str:
    return _plain(", ".join(filter(None, map(source_text, tensors_in(event.inputs)))))


_COLUMNS = (
    _Column("id", lambda row, event, sheet: str(event.id), numbers=True),
    _Column("module", _name),
    _Column("called", _entry),
    _Column("input", lambda row, event, sheet: _plain(shapes.inputs(event, sheet).whole)),
    _Column("data from", _data_from),
    _Column("output", lambda row, event, sheet: _plain(shapes.outputs(event, sheet).whole)),
    _Column("params", _parameters, numbers=True),
    _Column("FLOPs", _flops, numbers=True),
    _Column("from", lambda row, event, sheet: _code(calls.source(event.site, sheet))),
    _Column("notes", _notes),
)


def _table(rows: list[Row], sheet: Sheet) -> Iterator[str]:
    """The header and a line for each row; a column that is empty is left out, and ids that no row refers to."""
    texts = [_cells(row, sheet) for row in rows]
    filled = {title for cells in texts for title, cell in cells.items() if cell}
    if "data from" not in filled:
        filled.discard("id")
    shown = [column for column in _COLUMNS if column.title in filled]
    yield _line([column.title for column in shown])
    yield _line(["--:" if column.numbers else "---" for column in shown])
    for cells in texts:
        yield _line([cells.get(column.title, "") for column in shown])


def _cells(row: Row, sheet: Sheet) -> dict[str, str]:
    """The cells of a row by the title of their column."""
    if not isinstance(row.entry, Repeat):
        return {column.title: column.cell(row, row.entry, sheet) for column in _COLUMNS}
    label = _indented(row, _code(calls.repeat_label(row.entry, row.parent, sheet)))
    hidden = f"+{calls.amount_text(row.entry.hidden)}, `--no-fold` shows them"
    return {"module": f"{label} {_plain(calls.repeat_count(row.entry, sheet))}", "notes": hidden}


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
