"""Trace -> Markdown for an issue or a pull request: the facts, the findings, and a table with a row for each call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fwdtrace.render import calls, shapes, summary
from fwdtrace.render.columns import Column, Seen, columns_of
from fwdtrace.render.findings import grouped
from fwdtrace.render.fold import Repeat
from fwdtrace.render.numbers import Numbers
from fwdtrace.render.only import only as only_matching
from fwdtrace.render.rows import Row, tree_rows
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.totals import sizes
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Trace, tensors_in
from fwdtrace.trace.text import error_text, source_text

MOST_OPEN_ROWS = 40
"""A longer table is closed at first, so that what stands below it on the page stays in sight."""

_MARKUP = re.compile(r"([\\`*_\[\]<>|~$&])")
_REFERENCE = re.compile(r"(?<=[@#])(?=\w)|(?<=:)(?=[\w+-]+:)|(?<=GH)(?=-\d)|(?<=http)(?=s?://)|(?<=www)(?=\.)")
"""Where GitHub would find a person to notify, another issue, an emoji or a link."""


def markdown_text(
    trace: Trace,
    *,
    depth: int | None = None,
    fold: bool = True,
    columns: Sequence[str] = (),
    only: Sequence[str] = (),
) -> str:
    """The trace as Markdown; `depth` leaves out deeper calls, `fold` folds equal ones.

    `columns` are the keys of those to show, `only` patterns for what to show, with its callers.
    """
    sheet = sheet_for(trace)
    facts = [*summary.facts(trace, sheet), *(text for text, _ in summary.totals(trace)), *sizes(trace)]
    parts = [f"### {_code(summary.title(trace))}", " · ".join(map(_plain, facts))]
    parts += ["\n".join(_findings(trace, sheet))] if trace.findings else []
    part, left_out = only_matching(trace, only)
    rows = list(tree_rows(part, depth=depth, fold=fold, deepest=1))
    if rows:
        table = "\n".join(_table(rows, sheet, _columns(trace, columns)))
        long = len(rows) > MOST_OPEN_ROWS
        parts.append(f"<details><summary>{len(rows):,} rows</summary>\n\n{table}\n\n</details>" if long else table)
    if only:
        parts.append(_plain(calls.left_out_text(only, len(rows), left_out, sheet)))
    return "\n\n".join(parts)


def _findings(trace: Trace, sheet: Sheet) -> Iterator[str]:
    for group in grouped(trace):
        where = f" {_code(calls.source(group.site, sheet))}" if group.site else ""
        yield f"- **{_plain(group.title)}**{where}: {'<br>'.join(map(_plain, group.messages))}"


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


def _notes(row: Row, event: Event, sheet: Sheet) -> str:
    notes = [f"**{_plain(mark)}**" for mark in row.marks]
    notes += [_plain(mark) for mark in calls.marks(event)] if isinstance(event, Call) else []
    if event.error and not event.error.raised_below:
        notes.append(f"✗ {_code(error_text(event.error))}")
    if any(row.cut):
        notes.append(f"+{calls.amount_text(row.cut)}, `--depth {row.level + 1}` shows more")
    return " · ".join(notes)


def _data_from(row: Row, event: Event, sheet: Sheet) -> str:
    return _plain(", ".join(filter(None, map(source_text, tensors_in(event.inputs)))))


def _columns(trace: Trace, keys: Sequence[str]) -> list[_Column]:
    """The columns between the name and the notes, and where the data came from behind the inputs."""
    numbers = Numbers(trace)
    written = {
        "called": _entry,
        "input": lambda row, event, sheet: _plain(shapes.inputs(event, sheet).whole),
        "output": lambda row, event, sheet: _plain(shapes.outputs(event, sheet).whole),
        "from-row": _data_from,
        "from": lambda row, event, sheet: _code(calls.source(event.site, sheet)),
    }
    shown = [_Column("id", lambda row, event, sheet: str(event.id), numbers=True), _Column("module", _name)]
    for column in columns_of(keys, numbers):
        cell = written.get(column.key) or _cell_of(column, trace, numbers)
        shown.append(_Column(column.title.whole.strip(), cell, column.numbers))
        if column.key == "input" and "from-row" not in keys:
            shown.append(_Column("data from", _data_from))
    return [*shown, _Column("notes", _notes)]


def _cell_of(column: Column, trace: Trace, numbers: Numbers) -> Callable[[Row, Event, Sheet], str]:
    return lambda row, event, sheet: _plain(column.cell(Seen(event, None, trace, numbers), sheet).whole.strip())


def _table(rows: list[Row], sheet: Sheet, columns: Sequence[_Column]) -> Iterator[str]:
    """The header and a line for each row; a column that is empty is left out, and ids that no row refers to."""
    texts = [_cells(row, sheet, columns) for row in rows]
    filled = {title for cells in texts for title, cell in cells.items() if cell}
    if "data from" not in filled:
        filled.discard("id")
    shown = [column for column in columns if column.title in filled]
    yield _line([column.title for column in shown])
    yield _line(["--:" if column.numbers else "---" for column in shown])
    for cells in texts:
        yield _line([cells.get(column.title, "") for column in shown])


def _cells(row: Row, sheet: Sheet, columns: Sequence[_Column]) -> dict[str, str]:
    """The cells of a row by the title of their column."""
    if not isinstance(row.entry, Repeat):
        return {column.title: column.cell(row, row.entry, sheet) for column in columns}
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
