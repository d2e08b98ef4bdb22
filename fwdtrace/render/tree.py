"""Trace -> the tree in the terminal: a row for each call in aligned columns, the findings, and the totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from rich.cells import cell_len
from rich.console import Console

from fwdtrace.render import calls, summary
from fwdtrace.render.cells import Name
from fwdtrace.render.columns import COLUMNS, NAME_TITLE, TITLES, UNASKED, Cells, Seen, cells_of, name_of
from fwdtrace.render.fold import Repeat
from fwdtrace.render.layout import Layout, layout_for
from fwdtrace.render.lines import Line, fitting, plain, print_lines
from fwdtrace.render.rows import Row, tree_rows
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.words import cut, cut_left, padded, wrapped
from fwdtrace.trace import Call, Event, Op, Trace
from fwdtrace.trace.text import error_text, multiplied

MOST_ERROR_LINES = 6
MOST_CHAINS = 4
MOST_FINDINGS = 25


def tree_text(
    trace: Trace,
    *,
    width: int = 80,
    depth: int | None = None,
    fold: bool = True,
    columns: Collection[str] = UNASKED,
) -> str:
    """The tree as plain text, at most `width` cells wide; `depth` leaves out deeper calls, `fold` folds equal ones."""
    return plain(tree_lines(trace, sheet_for(trace, width), depth, fold, columns), width)


def print_tree(
    trace: Trace,
    console: Console,
    *,
    depth: int | None = None,
    fold: bool = True,
    columns: Collection[str] = UNASKED,
) -> None:
    """Print the tree as wide as the console is, in ASCII if the console takes nothing else."""
    print_lines(tree_lines(trace, sheet_for(trace, console.width, console.encoding), depth, fold, columns), console)


def tree_lines(
    trace: Trace, sheet: Sheet, depth: int | None, fold: bool, columns: Collection[str] = UNASKED
) -> Iterator[Line]:
    """The lines of the tree: the header, the rows, the findings, the totals."""
    yield from _header(trace, sheet)
    yield []
    rows = list(tree_rows(trace, depth=depth, fold=fold, deepest=max(2, sheet.width // 8)))
    events = {number: row.entry for number, row in enumerate(rows) if not isinstance(row.entry, Repeat)}
    names = {number: name_of(rows[number], event, sheet) for number, event in events.items()}
    cells = {
        number: cells_of(Seen(event, _above(rows, number), trace), sheet, columns) for number, event in events.items()
    }
    layout = layout_for(list(names.values()), list(cells.values()), sheet.width)
    if rows:
        yield _joined(layout, [(NAME_TITLE.name, "dim")], TITLES, dict.fromkeys(TITLES, "dim"))
    shown_by_op = {event.parent for event in events.values() if isinstance(event, Op) and event.error}
    for number, row in enumerate(rows):
        if isinstance(row.entry, Repeat):
            yield from _repeat_lines(row, row.entry, sheet)
            continue
        yield from _event_lines(row, row.entry, names[number], cells[number], layout, sheet)
        if not isinstance(row.entry, Call) or row.entry.id not in shown_by_op:
            yield from _error_lines(row, row.entry, sheet)
    if rows:
        yield []
    yield from _findings(trace, sheet)
    yield from _footer(trace, sheet)
    if layout.dropped:
        note = f"too narrow for the {', '.join(layout.dropped)}"
        yield from ([(part, "dim")] for part in wrapped(note, sheet.width))


def _above(rows: list[Row], number: int) -> Event | None:
    """What the row above shows: of equal blocks, the last."""
    above = rows[number - 1].entry if number else None
    return above.last[-1] if isinstance(above, Repeat) else above


def _header(trace: Trace, sheet: Sheet) -> Iterator[Line]:
    line: Line = [(cut(summary.title(trace, sheet.encoding), sheet.width), "bold")]
    for fact in summary.facts(trace, sheet):
        if _length(line) + 3 + cell_len(fact) > sheet.width:
            yield line
            line = [(cut(fact, sheet.width), "")]
            continue
        line += [(" · ", "dim"), (fact, "")]
    yield line


def _event_lines(row: Row, event: Event, name: Name, cells: Cells, layout: Layout, sheet: Sheet) -> Iterator[Line]:
    """The row of a call or op, and below it the marks that do not fit into it."""
    style = "red" if event.error else "dim" if isinstance(event, Op) else ""
    direct = isinstance(event, Call) and event.entry == "forward"
    styles = {column.key: style or ("dim" if column.quiet else "") for column in COLUMNS}
    if direct:
        styles["entry"] = "bold red"
    pieces = _name_pieces(name, layout["name"], "bold red" if direct else style)
    line = fitting(_joined(layout, pieces, cells, styles), sheet.width)
    mark = " · ".join(_marks(row, event, layout))
    if mark and _length(line) + 2 + cell_len(mark) <= sheet.width:
        yield [*line, (f"  {mark}", "yellow")]
        return
    yield line
    for part in wrapped(mark, sheet.width - cell_len(row.below)):
        yield [(row.below, "dim"), (part, "yellow")]


def _marks(row: Row, event: Event, layout: Layout) -> list[str]:
    """What is special about a row, and how much the depth left out below it."""
    marks = calls.marks(event) if isinstance(event, Call) else []
    if isinstance(event, Call) and event.entry == "forward" and not layout["entry"]:
        marks.insert(0, "DIRECT")
    if any(row.cut):
        marks.append(f"+{calls.amount_text(row.cut)}, --depth {row.level + 1} shows more")
    return marks


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
    gap = " " * layout.gap
    line = [*name, (" " * (layout["name"] - _length(name)), "")]
    for column in COLUMNS:
        size, style = layout[column.key], styles[column.key]
        if not size:
            continue
        text = layout.text(column.key, cells[column.key])
        if column.numbers:
            line.append((gap + " " * (size - cell_len(text)) + text, style))
            continue
        if not (column.after and layout[column.after]):
            line.append((gap, ""))
        if column.lead:
            line.append((column.lead, style or "dim"))
        line.append((padded(text, size) + column.trail, style))
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


def _findings(trace: Trace, sheet: Sheet) -> Iterator[Line]:
    for finding in trace.findings[:MOST_FINDINGS]:
        title = sheet.text(f"{finding.code} {finding.name}")
        where = calls.source(finding.site, sheet)
        yield [
            (cut(title, sheet.width), "bold yellow"),
            (f"  {cut_left(where, sheet.width - cell_len(title) - 2)}" if where else "", "dim"),
        ]
        for paragraph in finding.message.splitlines():
            for part in wrapped(sheet.text(paragraph), sheet.width - 2):
                yield [(f"  {part}", "")]
    if len(trace.findings) > MOST_FINDINGS:
        yield [(f"{len(trace.findings) - MOST_FINDINGS:,} more findings, --json has all", "dim")]
    if trace.findings:
        yield []


def _footer(trace: Trace, sheet: Sheet) -> Iterator[Line]:
    """The totals, and the functions that ran between a caller and `forward`, the most frequent way first."""
    line: Line = []
    for text, style in summary.totals(trace):
        line += [(" · ", "dim"), (text, style)]
    yield line[1:]
    ways = Counter(map(calls.way, trace.calls)).most_common()
    for number, (way, times) in enumerate(ways[:MOST_CHAINS]):
        text = cut(sheet.text(way), sheet.width - 10 - len(f"{times:,}"))
        yield [("       " if number else "chain  ", "dim"), (text, "dim"), (f"  {multiplied(times)}", "dim")]
    if len(ways) > MOST_CHAINS:
        rest = sum(times for _, times in ways[MOST_CHAINS:])
        yield [(f"       {len(ways) - MOST_CHAINS} other ways, {multiplied(rest)}, --json has all", "dim")]


def _length(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)
