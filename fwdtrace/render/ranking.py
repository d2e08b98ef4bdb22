"""Trace -> a ranking: which modules take most time, operations, parameters or memory, the largest first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len
from rich.console import Console

from fwdtrace.render import summary, words
from fwdtrace.render.closing import findings_below
from fwdtrace.render.lines import Line, plain, print_lines
from fwdtrace.render.numbers import NO_GRADIENT, STATISTICS, Numbers
from fwdtrace.render.numbers import Key as Measure
from fwdtrace.render.only import matches
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.totals import output_bytes
from fwdtrace.render.words import cut_middle, printable
from fwdtrace.trace import Call, Trace
from fwdtrace.trace.text import plural

Key = Literal[
    "time", "self", "self-time", "flops", "params", "parameters", "memory", "mean", "std", "min", "max", "nan", "grad"
]
ALSO: dict[Key, Key] = {"self-time": "self", "parameters": "params"}
"""Keys that stand for others."""

NUMBERS: tuple[Measure, ...] = (*STATISTICS, "nan", "grad")
GAP = "  "
LEAST_NAME = 20


@dataclass(slots=True)
class _Row:
    """The sums over the calls of one module: times in microseconds, `output` in bytes of what they returned.

    `own` is the time without that of the calls inside. `flops` is None if they were not counted. `host` is the host's
    time of the calls whose time is a device's. `peak` is the most memory that one call needed. `numbers` are those of
    which there is no sum: of the first call that has them.
    """

    path: str | None
    class_name: str
    calls: int = 0
    total: float = 0.0
    own: float = 0.0
    flops: int | None = None
    parameters: int = 0
    output: int = 0
    host: float | None = None
    peak: int | None = None
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its title, the key that sorts by it, the number of a row, and the text of a number."""

    title: str
    key: Key | None
    number: Callable[[_Row], float | None]
    text: Callable[[float], str]
    ascending: bool = False


def _measured(title: str, key: Key, text: Callable[[float], str] = words.number, *, ascending: bool = False) -> _Column:
    return _Column(title, key, lambda row: row.numbers.get(key), text, ascending)


_COLUMNS = (
    _Column("calls", None, lambda row: row.calls, lambda number: f"{number:,.0f}"),
    _Column("time", "time", lambda row: row.total, words.duration),
    _Column("own time", "self", lambda row: row.own, words.duration),
    _Column("host time", None, lambda row: row.host, words.duration),
    _Column("FLOPs", "flops", lambda row: row.flops, lambda number: words.count(int(number), short=True) or "0"),
    _Column("params", "params", lambda row: row.parameters, lambda number: words.count(int(number), short=True)),
    _Column("peak", "memory", lambda row: row.peak, lambda number: words.size(int(number))),
    _Column("output", "memory", lambda row: row.output, lambda number: words.size(int(number))),
    _measured("mean", "mean"),
    _measured("std", "std"),
    _measured("min", "min", ascending=True),
    _measured("max", "max"),
    _measured("NaN", "nan", lambda number: f"{number:,.0f}"),
    _measured("grad", "grad", lambda number: "none" if number == NO_GRADIENT else words.number(number)),
)
_DROPPED_FIRST = (
    *("calls", "params", "output", "host time", "peak", "std", "mean", "min", "max"),
    *("own time", "FLOPs", "grad", "NaN", "time"),
)


def ranking_text(trace: Trace, *, by: Key, top: int, width: int = 80, only: Sequence[str] = ()) -> str:
    """The `top` modules by `by` as plain text, at most `width` cells wide, those that a pattern matches if any do."""
    return plain(_lines(trace, by, top, only, sheet_for(trace, width)), width)


def print_ranking(trace: Trace, console: Console, *, by: Key, top: int, only: Sequence[str] = ()) -> None:
    """Print the `top` modules by `by`, as wide as the console is."""
    print_lines(_lines(trace, by, top, only, sheet_for(trace, console.width, console.encoding)), console)


def _lines(trace: Trace, by: Key, top: int, only: Sequence[str], sheet: Sheet) -> list[Line]:
    width = sheet.width
    every = _rows(trace)
    wanted = {_key(call) for call in trace.calls if not only or matches(call, only)}
    rows = [row for key, row in every.items() if key in wanted]
    by = ALSO.get(by, by)
    candidates = [column for column in _COLUMNS if column.key == by]
    sorted_by = next((column for column in candidates if _says_something(column, rows)), candidates[-1])
    if any(sorted_by.number(row) is not None for row in rows):
        rows.sort(key=lambda row: _place(sorted_by, row))
    shown = rows[:top]
    columns = _fitting([column for column in _COLUMNS if _says_something(column, shown)], shown, sorted_by, width)
    sizes = {column.title: _size_of(column, shown) for column in columns}
    name_width = width - sum(len(GAP) + size for size in sizes.values())
    longest = max((cell_len(_name(row)) for row in shown), default=0)
    name_width = min(name_width, max(longest, len("module")))
    title: Line = [("module".ljust(name_width), "dim")]
    for column in columns:
        title.append((GAP + column.title.rjust(sizes[column.title]), "bold" if column is sorted_by else "dim"))
    lines = [title]
    for row in shown:
        lines.append(_name_cell(row, name_width))
        for column in columns:
            text = _cell(column, row)
            lines[-1].append((GAP + text.rjust(sizes[column.title]), "bold" if column is sorted_by else ""))
    notes = _notes(trace, rows, len(shown), by)
    if left := len(every) - len(rows):
        asked = " ".join(f"--only {pattern!r}" for pattern in only)
        notes.insert(0, sheet.text(f"{plural(left, 'module')} left out by {asked}"))
    lines += [[], *([(part, "dim")] for note in notes for part in words.wrapped(note, width))] if notes else []
    return [*lines, *findings_below(trace, sheet)]


def _place(column: _Column, row: _Row) -> tuple[bool, float]:
    """Where a row stands by this column: what has no number there comes last."""
    number = column.number(row)
    if number is None or math.isnan(number):
        return True, 0.0
    return False, number if column.ascending else -number


def _key(call: Call) -> tuple[str | None, str]:
    return call.path, "" if call.path is not None else call.class_name


def _rows(trace: Trace) -> dict[tuple[str | None, str], _Row]:
    """A row for each module, in order of its first call; outside the tree a row for each class."""
    rows: dict[tuple[str | None, str], _Row] = {}
    measured = Numbers(trace)
    for call in trace.calls:
        row = rows.setdefault(_key(call), _Row(call.path, call.class_name))
        row.calls += 1
        row.own += measured.of(call, "self") or 0.0
        row.parameters = max(row.parameters, call.parameters)
        row.output += output_bytes(call)
        if call.memory_bytes is not None:
            row.peak = max(row.peak or 0, call.memory_bytes)
        if not _is_within_itself(trace, call):
            row.total += call.duration_us or 0.0
            row.host = row.host if call.host_us is None else (row.host or 0.0) + call.host_us
            row.flops = row.flops if call.flops is None else (row.flops or 0) + call.flops
        for key in NUMBERS:
            number = measured.of(call, key)
            if number is not None:
                row.numbers.setdefault(key, number)
    return rows


def _is_within_itself(trace: Trace, call: Call) -> bool:
    """Whether the module called itself: the time of the outer call then contains that of this one."""
    return call.path is not None and any(caller.path == call.path for caller in trace.callers(call))


def _says_something(column: _Column, rows: Sequence[_Row]) -> bool:
    return any(column.number(row) for row in rows)


def _fitting(columns: list[_Column], rows: Sequence[_Row], kept: _Column, width: int) -> list[_Column]:
    """The columns that leave room for names; the one that is sorted by stays."""
    for title in _DROPPED_FIRST:
        needed = sum(len(GAP) + _size_of(column, rows) for column in columns)
        if needed + LEAST_NAME <= width:
            break
        columns = [column for column in columns if column.title != title or column is kept]
    return columns


def _size_of(column: _Column, rows: Sequence[_Row]) -> int:
    return max(cell_len(column.title), *(cell_len(_cell(column, row)) for row in rows), 0)


def _cell(column: _Column, row: _Row) -> str:
    number = column.number(row)
    return column.text(number) if number is not None else ""


def _name(row: _Row) -> str:
    """The path and the class; the class alone for the root, in brackets for what is outside the tree."""
    if row.path is None:
        return printable(f"({row.class_name})")
    return printable(f"{row.path} {row.class_name}".strip())


def _name_cell(row: _Row, width: int) -> Line:
    path, _, rest = _name(row).partition(" ")
    if cell_len(path) + 2 > width or not rest:
        text = cut_middle(path, width)
        return [(text + " " * (width - cell_len(text)), "bold")]
    rest = words.cut(rest, width - cell_len(path) - 1)
    return [(path, "bold"), (f" {words.padded(rest, width - cell_len(path) - 1)}", "cyan")]


def _notes(trace: Trace, rows: Sequence[_Row], shown: int, by: Key) -> list[str]:
    """What the table leaves out, and what its numbers do not contain."""
    notes = []
    if shown < len(rows):
        notes.append(f"{plural(len(rows) - shown, 'more module')}, --top {len(rows)} shows all")
    if clock := summary.clock(trace):
        notes.append(f"time and own time: {clock}")
    if any(row.flops is not None for row in rows):
        notes.append("FLOPs as torch counts them: no attention on CPU, no fused encoder layers")
    elif by == "flops":
        notes.append("no FLOPs were counted when this was recorded; --costs counts them")
    if by in NUMBERS and not any(by in row.numbers for row in rows):
        option = {"nan": "--check-finite", "grad": "--backward"}.get(by, "--stats")
        notes.append(f"there is no {by} in this trace; {option} measures it")
    return notes
