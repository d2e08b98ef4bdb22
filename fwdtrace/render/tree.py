"""Trace -> the tree in the terminal: a row for each call in aligned columns, then the totals and the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console

from fwdtrace.render import calls, summary
from fwdtrace.render.cells import Cell, Name
from fwdtrace.render.closing import totals_and_findings
from fwdtrace.render.columns import (
    NAME_TITLE,
    Cells,
    Column,
    Seen,
    cells_of,
    columns_of,
    name_files_once,
    name_of,
    notes_on,
    notes_on_absent,
    style_of,
)
from fwdtrace.render.fold import Amount, Repeat
from fwdtrace.render.layout import Layout, layout_for
from fwdtrace.render.lines import Line, fitting, plain, print_lines
from fwdtrace.render.marks import NO_GRADIENT
from fwdtrace.render.names import apart
from fwdtrace.render.numbers import Numbers
from fwdtrace.render.only import only as only_matching
from fwdtrace.render.rows import Row, tree_rows
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.words import cut, padded, wrapped
from fwdtrace.trace import Call, Event, Op, Trace
from fwdtrace.trace.text import error_text

MOST_ERROR_LINES = 6

WIDER = (100, 120, 140, 160, 200)
"""The widths of a tree that nothing but its columns limits."""

WIDER_FOR_FILES = 20
"""So much wider it may be for the names of files alone."""


def tree_text(
    trace: Trace,
    *,
    width: int = 80,
    depth: int | None = None,
    fold: bool = True,
    columns: Sequence[str] = (),
    only: Sequence[str] = (),
) -> str:
    """The tree as plain text, at most `width` cells wide; `depth` leaves out deeper calls, `fold` folds equal ones.

    `columns` are the keys of those to show, beside the names; without any, they follow from what was measured. `only`
    are patterns for what to show, with its callers.
    """
    return plain(tree_lines(trace, sheet_for(trace, width), depth, fold, columns, only), width)


def print_tree(
    trace: Trace,
    console: Console,
    *,
    depth: int | None = None,
    fold: bool = True,
    columns: Sequence[str] = (),
    only: Sequence[str] = (),
) -> None:
    """Print the tree as wide as the console is, in ASCII if the console takes nothing else."""
    sheet = sheet_for(trace, console.width, console.encoding)
    print_lines(tree_lines(trace, sheet, depth, fold, columns, only), console)


def width_of_all_columns(
    trace: Trace,
    least: int,
    depth: int | None = None,
    fold: bool = True,
    keys: Sequence[str] = (),
    patterns: Sequence[str] = (),
) -> int:
    """The smallest of some widths, from `least` on, in which no column is left out; or the largest of them.

    It is somewhat wider if then no file is cut.
    """
    widths = [least, *(width for width in WIDER if width > least)]
    complete = 0
    for width in widths:
        drawing = _drawing(trace, sheet_for(trace, width), depth, fold, keys, patterns)
        if drawing.layout.dropped:
            continue
        complete = complete or width
        if drawing.files_are_whole:
            return width if width - complete <= WIDER_FOR_FILES else complete
    return complete or widths[-1]


def tree_lines(
    trace: Trace, sheet: Sheet, depth: int | None, fold: bool, keys: Sequence[str] = (), patterns: Sequence[str] = ()
) -> Iterator[Line]:
    """The lines of the tree: the header, the rows, the totals, the findings."""
    yield from _header(trace, sheet)
    yield []
    drawn = _drawing(trace, sheet, depth, fold, keys, patterns)
    rows, layout, left_out = drawn.rows, drawn.layout, drawn.left_out
    if rows:
        titles = {column.key: column.title for column in layout.columns}
        yield _joined(layout, [(NAME_TITLE.name, "dim")], titles, dict.fromkeys(titles, "dim"))
    names = apart(drawn.names, rows, layout["name"])
    shown_by_op = {row.entry.parent for row in rows if isinstance(row.entry, Op) and row.entry.error}
    for number, row in enumerate(rows):
        if isinstance(row.entry, Repeat):
            yield from _repeat_lines(row, row.entry, sheet)
            continue
        styles = _styles(row.entry, layout.columns, drawn.numbers)
        yield from _event_lines(row, row.entry, names[number], drawn.cells[number], styles, layout, sheet)
        if not isinstance(row.entry, Call) or row.entry.id not in shown_by_op:
            yield from _error_lines(row, row.entry, sheet)
    notes = [*notes_on(layout.shown), *notes_on_absent(keys, drawn.numbers)]
    if patterns:
        notes.insert(0, calls.left_out_text(patterns, len(rows), left_out, sheet))
    if layout.dropped:
        what = "column" if len(layout.dropped) == 1 else "columns"
        notes.append(f"too narrow for the {what} {', '.join(layout.dropped)}")
    yield from ([(part, "dim")] for note in notes for part in wrapped(note, sheet.width))
    if rows or patterns:
        yield []
    yield from totals_and_findings(trace, sheet)


def _above(rows: list[Row], number: int) -> Event | None:
    """What the row above shows: of equal blocks, the last."""
    above = rows[number - 1].entry if number else None
    return above.last[-1] if isinstance(above, Repeat) else above


class _Drawing(NamedTuple):
    """The rows of a tree, with the names and cells of those that are not folds, and how wide the columns are.

    `left_out` is how much of the trace the patterns do not match.
    """

    rows: list[Row]
    names: dict[int, Name]
    cells: dict[int, dict[str, Cell]]
    numbers: Numbers
    layout: Layout
    left_out: Amount

    @property
    def files_are_whole(self) -> bool:
        room = self.layout["from"]
        return not room or all(cell_len(cells["from"].whole) <= room for cells in self.cells.values())


def _drawing(
    trace: Trace, sheet: Sheet, depth: int | None, fold: bool, keys: Sequence[str], patterns: Sequence[str]
) -> _Drawing:
    part, left_out = only_matching(trace, patterns)
    rows = list(tree_rows(part, depth=depth, fold=fold, deepest=max(2, sheet.width // 8)))
    events = {number: row.entry for number, row in enumerate(rows) if not isinstance(row.entry, Repeat)}
    numbers = Numbers(trace)
    columns = columns_of(keys, numbers)
    names = {number: name_of(rows[number], event, sheet) for number, event in events.items()}
    cells = {
        number: cells_of(Seen(event, _above(rows, number), trace, numbers), columns, sheet)
        for number, event in events.items()
    }
    if "from" in {column.key for column in columns}:
        name_files_once(list(cells.values()))
    dull = "called" if not keys and all(map(_is_usual, events.values())) else ""
    layout = layout_for(columns, list(names.values()), list(cells.values()), sheet.width, dull)
    return _Drawing(rows, names, cells, numbers, layout, left_out)


def _is_usual(event: Event) -> bool:
    """Whether a call went the way that most go, from `__call__` to `forward`."""
    return isinstance(event, Op) or calls.entry(event) == calls.USUAL_ENTRY


def _styles(event: Event, columns: Sequence[Column], numbers: Numbers) -> dict[str, str]:
    """The style of each cell of a row: what must not be overlooked first, then that of the row, then of the column."""
    style = _style(event)
    return {
        column.key: style_of(column, event, numbers) or style or ("dim" if column.quiet else "") for column in columns
    }


def _style(event: Event) -> str:
    return "red" if event.error else "dim" if isinstance(event, Op) else ""


def _header(trace: Trace, sheet: Sheet) -> Iterator[Line]:
    line: Line = [(cut(summary.title(trace, sheet.encoding), sheet.width), "bold")]
    for fact in summary.facts(trace, sheet):
        if _length(line) + 3 + cell_len(fact) > sheet.width:
            yield line
            line = [(cut(fact, sheet.width), "")]
            continue
        line += [(" · ", "dim"), (fact, "")]
    yield line


def _event_lines(
    row: Row, event: Event, name: Name, cells: Cells, styles: Mapping[str, str], layout: Layout, sheet: Sheet
) -> Iterator[Line]:
    """The row of a call or op, and below it the marks that do not fit into it."""
    direct = isinstance(event, Call) and event.entry == "forward"
    pieces = _name_pieces(name, layout["name"], "bold red" if direct or row.marks else _style(event))
    line = fitting(_joined(layout, pieces, cells, styles), sheet.width)
    told = [text for text in row.marks if text != NO_GRADIENT or not layout["grad"]]  # the column has it in red
    mark = " · ".join((*told, *_notes(row, event, layout)))
    style = "bold red" if row.marks else "yellow"
    if mark and _length(line) + 2 + cell_len(mark) <= sheet.width:
        yield [*line, (f"  {mark}", style)]
        return
    yield line
    for part in wrapped(mark, sheet.width - cell_len(row.below)):
        yield [(row.below, "dim"), (part, style)]


def _notes(row: Row, event: Event, layout: Layout) -> list[str]:
    """What is special about a row, and how much the depth left out below it."""
    notes = calls.marks(event, nan_is_shown=bool(layout["nan"])) if isinstance(event, Call) else []
    if isinstance(event, Call) and event.entry == "forward" and not layout["called"]:
        notes.insert(0, "DIRECT")
    if any(row.cut):
        notes.append(f"+{calls.amount_text(row.cut)}, --depth {row.level + 1} shows more")
    return notes


def _error_lines(row: Row, event: Event, sheet: Sheet) -> Iterator[Line]:
    """The error, below the row in which it began."""
    if not event.error or event.error.raised_below:
        return
    parts = wrapped(f"✗ {sheet.text(error_text(event.error))}", sheet.width - cell_len(row.below))
    for part in parts[:MOST_ERROR_LINES]:
        yield [(row.below, "dim"), (part, "bold red")]
    if len(parts) > MOST_ERROR_LINES:
        yield [(row.below, "dim"), (f"… {len(parts) - MOST_ERROR_LINES} more lines, --json has all", "red")]


def _name_pieces(cell: Name, width: int, style: str) -> Line:
    room = width - cell_len(cell.guides)
    rest = room - cell_len(cell.name) - 1
    line = [(cell.guides, "dim"), (cut(cell.name, room), style or "bold")]
    if cell.class_name and (rest >= 6 or rest >= cell_len(cell.class_name)):
        line.append((f" {cut(cell.class_name, rest)}", style or "cyan"))
    return line


def _joined(layout: Layout, name: Line, cells: Cells, styles: Mapping[str, str]) -> Line:
    """One row of the table: the cells cut and padded, and the gaps between them."""
    line = [*name, (" " * (layout["name"] - _length(name)), "")]
    before = ""
    for column in layout.shown:
        size, style = layout[column.key], styles[column.key]
        text = layout.text(column.key, cells[column.key])
        lead, trail = layout.lead(column), layout.trail(column)
        line.append((" " * layout.gap_before(column, before), ""))
        before = column.key
        if column.numbers:
            space = " " * (size - cell_len(text))
            lead = lead if text else " " * len(lead)
            line.append((lead + text + space + trail if column.after else space + lead + text + trail, style))
            continue
        if lead:
            line.append((lead, style or "dim"))
        line.append((padded(text, size) + trail, style))
    return line


def _repeat_lines(row: Row, repeat: Repeat, sheet: Sheet) -> Iterator[Line]:
    width = sheet.width
    label = calls.repeat_label(repeat, row.parent, sheet)
    count = f"  {cut(calls.repeat_count(repeat, sheet), width // 2)}"
    hidden = f"+{calls.amount_text(repeat.hidden)}, --no-fold shows them"
    room = width - cell_len(row.guides + count)
    line = [(row.guides, "dim"), (cut(label, max(room, 8)), "bold"), (cut(count, width - len(row.guides) - 8), "cyan")]
    if _length(line) + 2 + len(hidden) <= width:
        yield [*line, (f"  {hidden}", "dim")]
        return
    yield line
    for part in wrapped(hidden, width - cell_len(row.below) - 2):
        yield [(f"{row.below}  {part}", "dim")]


def _length(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)
