"""Trace -> the tree in the terminal: a row a call in aligned columns, what was found, and what it adds up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console

from fwdtrace.render import shapes, summary, words
from fwdtrace.render.columns import Cells, Columns, columns_for
from fwdtrace.render.fold import Node, Repeat, Row, tree_rows
from fwdtrace.render.lines import Line, fitting, print_lines
from fwdtrace.render.shapes import Listing, Usual, usual
from fwdtrace.render.words import cut, cut_left, padded, printable, wrapped
from fwdtrace.trace import Call, Op, Trace

MOST_ERROR_LINES = 6
MOST_CHAINS = 4
MOST_FINDINGS = 25

_TITLES = Cells(
    guides="",
    name="module",
    class_name="",
    entry=("called", "called"),
    inputs=Listing.of("input"),
    outputs=Listing.of("output"),
    parameters=("params", "params"),
    source="from",
)


def tree_text(trace: Trace, *, width: int = 80, depth: int | None = None, fold: bool = True) -> str:
    """The tree as plain text, at most `width` cells wide; `depth` leaves out deeper calls, `fold` folds equal ones."""
    lines = _lines(trace, width, depth, fold, "utf-8")
    return "\n".join("".join(text for text, _ in fitting(line, width)) for line in lines)


def print_tree(trace: Trace, console: Console, *, depth: int | None = None, fold: bool = True) -> None:
    """Print the tree as wide as the console is, in ASCII if the console takes nothing else."""
    lines = _lines(trace, console.width, depth, fold, console.encoding)
    print_lines(lines, console)


def _lines(trace: Trace, width: int, depth: int | None, fold: bool, encoding: str) -> Iterator[Line]:
    known = usual(trace, encoding)
    yield from _header(trace, known, width)
    yield []
    rows = list(tree_rows(trace, depth=depth, fold=fold, deepest=max(2, width // 8)))
    texts = [None if isinstance(row.node, Repeat) else _cells(row, row.node, known) for row in rows]
    columns = columns_for([_TITLES, *(text for text in texts if text)], width)
    if rows:
        yield _joined(
            columns, [("module", "dim")], [(text, "dim") for text in ("called", "input", "output", "params", "from")]
        )
    told_by_op = {row.node.parent for row in rows if isinstance(row.node, Op) and row.node.error}
    for row, text in zip(rows, texts, strict=True):
        if isinstance(row.node, Repeat):
            yield from _repeat_lines(row, row.node, width, encoding)
        elif text:
            yield from _row_lines(row, row.node, text, columns, width, known)
            if not isinstance(row.node, Call) or row.node.id not in told_by_op:
                yield from _error_lines(row, row.node, width, encoding)
    if rows:
        yield []
    yield from _findings(trace, width, encoding)
    yield from _footer(trace, width, encoding)
    if columns.dropped:
        yield from ([(part, "dim")] for part in wrapped(f"too narrow for the {', '.join(columns.dropped)}", width))


def _header(trace: Trace, known: Usual, width: int) -> Iterator[Line]:
    line: Line = [(cut(summary.title(trace, known.encoding), width), "bold")]
    used = cell_len(line[0][0])
    for fact in summary.facts(trace, known):
        if used + 3 + cell_len(fact) > width:
            yield line
            line, used = [(cut(fact, width), "")], cell_len(fact)
            continue
        line += [(" · ", "dim"), (fact, "")]
        used += 3 + cell_len(fact)
    yield line


def _cells(row: Row, node: Node, known: Usual) -> Cells:
    """The texts of a row before anything is cut."""
    call = node if isinstance(node, Call) else None
    return Cells(
        guides=row.guides,
        name=summary.label(node, row.parent, known.encoding),
        class_name=printable(call.class_name, known.encoding) if call and call.path else "",
        entry=(words.entry(call), words.entry(call, short=True)) if call else ("", ""),
        inputs=shapes.inputs(node, known),
        outputs=shapes.outputs(node, known),
        parameters=(words.count(call.parameters), words.count(call.parameters, short=True)) if call else ("", ""),
        source=words.source(node.site, known.encoding),
    )


def _row_lines(row: Row, node: Node, text: Cells, columns: Columns, width: int, known: Usual) -> Iterator[Line]:
    """A row of the tree, and below it the marks that found no room in it."""
    error = node.error
    style = "red" if error else "dim" if isinstance(node, Op) else ""
    direct = isinstance(node, Call) and node.entry == "forward"
    line = _joined(
        columns,
        _name_cell(text, columns.name, "bold red" if direct else style),
        [
            (text.entry[columns.short_entry], "bold red" if direct else style or "dim"),
            (text.inputs.within(columns.inputs), style),
            (text.outputs.within(columns.outputs), style),
            (text.parameters[columns.short_parameters], style),
            (cut_left(text.source, columns.source), style or "dim"),
        ],
    )
    marks = words.marks(node) if isinstance(node, Call) else []
    if direct and not columns.entry:
        marks.insert(0, "DIRECT")
    if any(row.cut):
        marks.append(f"+{summary.amount_text(row.cut)}, --depth {row.level + 1} shows more")
    mark = " · ".join(marks)
    line = fitting(line, width)
    below = width - cell_len(row.below)
    if mark and _length(line) + 2 + cell_len(mark) <= width:
        yield [*line, (f"  {mark}", "yellow")]
    else:
        yield line
        for part in wrapped(mark, below):
            yield [(row.below, "dim"), (part, "yellow")]


def _error_lines(row: Row, node: Node, width: int, encoding: str) -> Iterator[Line]:
    """The error, below the row in which it began."""
    error = node.error
    if error and not error.raised_below:
        text = f"{error.type}: {error.message}" if error.message else error.type
        parts = wrapped(f"✗ {printable(text, encoding)}", width - cell_len(row.below))
        for part in parts[:MOST_ERROR_LINES]:
            yield [(row.below, "dim"), (part, "bold red")]
        if len(parts) > MOST_ERROR_LINES:
            yield [(row.below, "dim"), (f"… {len(parts) - MOST_ERROR_LINES} more lines, --json has all", "red")]


def _name_cell(text: Cells, width: int, style: str) -> Line:
    room = width - cell_len(text.guides)
    rest = room - cell_len(text.name) - 1
    line = [(text.guides, "dim"), (cut(text.name, room), style or "bold")]
    if text.class_name and (rest >= 6 or rest >= cell_len(text.class_name)):
        line.append((f" {cut(text.class_name, rest)}", style or "cyan"))
    return line


def _joined(columns: Columns, name: Line, texts: list[tuple[str, str]]) -> Line:
    """One row of the columns: the cells padded, and the gaps between them."""
    (entry, inputs, outputs, parameters, source) = texts
    gap = " " * columns.gap
    line = [*name, (" " * (columns.name - _length(name)), "")]
    if columns.entry:
        line += [(gap, ""), (padded(cut(entry[0], columns.entry), columns.entry), entry[1])]
    if columns.outputs:
        line.append((gap, ""))
        if columns.inputs:
            line.append((padded(cut(inputs[0], columns.inputs), columns.inputs) + " ", inputs[1]))
        line += [("→ ", inputs[1] or "dim"), (padded(cut(outputs[0], columns.outputs), columns.outputs), outputs[1])]
    if columns.parameters:
        text = cut(parameters[0], columns.parameters)
        line += [(gap + " " * (columns.parameters - cell_len(text)) + text, parameters[1])]
    if columns.source:
        line += [(gap, ""), (cut(source[0], columns.source), source[1])]
    return line


def _repeat_lines(row: Row, repeat: Repeat, width: int, encoding: str) -> Iterator[Line]:
    label = summary.repeat_label(repeat, row.parent, encoding)
    count = f"  {cut(summary.repeat_count(repeat, encoding), width // 2)}"
    hidden = f"+{summary.amount_text(repeat.hidden)}, --no-fold shows them"
    room = width - cell_len(row.guides + count)
    line = [(row.guides, "dim"), (cut(label, max(room, 8)), "bold"), (cut(count, width - len(row.guides) - 8), "cyan")]
    if _length(line) + 2 + len(hidden) <= width:
        yield [*line, (f"  {hidden}", "dim")]
        return
    yield line
    for part in wrapped(hidden, width - cell_len(row.below) - 2):
        yield [(f"{row.below}  {part}", "dim")]


def _findings(trace: Trace, width: int, encoding: str) -> Iterator[Line]:
    for finding in trace.findings[:MOST_FINDINGS]:
        title = printable(f"{finding.code} {finding.name}", encoding)
        where = words.source(finding.site, encoding)
        yield [
            (cut(title, width), "bold yellow"),
            (f"  {cut_left(where, width - cell_len(title) - 2)}" if where else "", "dim"),
        ]
        for paragraph in finding.message.splitlines():
            for part in wrapped(printable(paragraph, encoding), width - 2):
                yield [(f"  {part}", "")]
    if len(trace.findings) > MOST_FINDINGS:
        yield [(f"{len(trace.findings) - MOST_FINDINGS:,} more findings, --json has all", "dim")]
    if trace.findings:
        yield []


def _footer(trace: Trace, width: int, encoding: str) -> Iterator[Line]:
    """The totals, and the functions that ran between a caller and `forward`, the most frequent way first."""
    line: Line = []
    for text, style in summary.totals(trace):
        line += [(" · ", "dim"), (text, style)]
    yield line[1:]
    ways = Counter(map(words.way, trace.calls)).most_common()
    for number, (way, times) in enumerate(ways[:MOST_CHAINS]):
        text = cut(printable(way, encoding), width - 10 - len(f"{times:,}"))
        yield [("       " if number else "chain  ", "dim"), (text, "dim"), (f"  ×{times:,}", "dim")]
    if len(ways) > MOST_CHAINS:
        rest = sum(times for _, times in ways[MOST_CHAINS:])
        yield [(f"       {len(ways) - MOST_CHAINS} other ways, ×{rest:,}, --json has all", "dim")]


def _length(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)
