"""The columns of the tree: their titles, what they show of a call or op, and which of them are shown if nobody says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fwdtrace.render import calls, shapes, words
from fwdtrace.render.cells import Cell, Listing, Name, Origins, Place, Text
from fwdtrace.render.numbers import BAR, NO_GRADIENT, STATISTICS, Key, Numbers
from fwdtrace.render.rows import Row
from fwdtrace.render.sheet import Sheet
from fwdtrace.trace import Call, Event, TensorMeta, Trace, tensors_in
from fwdtrace.trace.text import source_text

Cells = Mapping[str, Cell]
"""The cells of one row, but for its name, by the key of their column."""


class Seen(NamedTuple):
    """A call or op as a row, what is in the row above it, if there is one, and the trace with its numbers."""

    event: Event
    above: Event | None
    trace: Trace
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key and its title, and the cell of a call or op in it.

    `numbers` stand at its right edge, or at its left one `after` another number. It is `quiet` if it is dim where a row
    has no style of its own. `lead` is written before each cell and `trail` behind it. There is no gap between a
    column and the one that it is `after`.
    """

    key: str
    title: Cell
    cell: Callable[[Seen, Sheet], Cell]
    numbers: bool = False
    quiet: bool = False
    lead: str = ""
    trail: str = ""
    after: str = ""


def _called(seen: Seen, sheet: Sheet) -> Cell:
    event = seen.event
    return Text(calls.entry(event), calls.entry(event, short=True)) if isinstance(event, Call) else _NOTHING


def _input(seen: Seen, sheet: Sheet) -> Cell:
    return shapes.inputs(seen.event, sheet)


def _output(seen: Seen, sheet: Sheet) -> Cell:
    return shapes.outputs(seen.event, sheet)


def _parameters(seen: Seen, sheet: Sheet) -> Cell:
    event = seen.event
    if not isinstance(event, Call):
        return _NOTHING
    return Text(words.count(event.parameters), words.count(event.parameters, short=True))


def _source(seen: Seen, sheet: Sheet) -> Cell:
    return Place(calls.source(seen.event.site, sheet))


def _from_row(seen: Seen, sheet: Sheet) -> Cell:
    """Where the inputs came from, but for those that simply are what the row above gave, or was given."""
    above, given = seen.above, seen.event.inputs
    at_hand = set[object]()
    if above is not None:
        handed = above.inputs if above.id == seen.event.parent else above.outputs
        at_hand = {(leaf.source, leaf.changed_by) for leaf in tensors_in(handed) if leaf.source is not None}
    further = (leaf for leaf in tensors_in(given) if (leaf.source, leaf.changed_by) not in at_hand)
    return Origins(tuple(dict.fromkeys(_origin(leaf, seen, sheet) for leaf in further)))


def _origin(leaf: TensorMeta, seen: Seen, sheet: Sheet) -> str:
    """What gave a tensor its numbers: a row, by its name and an op's line; an argument or what a module holds; or ?."""
    producer = seen.trace.flow.producer(leaf)
    if producer is None:
        return sheet.text(source_text(leaf)) or "?"
    name = calls.label(producer, seen.trace.caller(seen.event), sheet)
    return name if isinstance(producer, Call) or not producer.site else f"{name} :{producer.site.line}"


def _gradient(seen: Seen, sheet: Sheet) -> Cell:
    numbers = seen.numbers
    norm = numbers.of(seen.event, "grad")
    if norm is None:
        return _NOTHING
    if norm == NO_GRADIENT:
        return Text(f"none {'':{BAR}}", f"none {'':{BAR}}")
    bar = f"{numbers.bar(norm):{BAR}}"
    return Text(f"{words.number(norm)} {bar}", f"{words.number(norm, 2)} {bar}")


def _of(key: Key, text: Callable[[float], str], short: Callable[[float], str]) -> Callable[..., Cell]:
    """A function from a call or op to the cell with its number, in full and in short."""

    def cell(seen: Seen, sheet: Sheet) -> Cell:
        number = seen.numbers.of(seen.event, key)
        return _NOTHING if number is None else Text(text(number), short(number))

    return cell


def _statistic(key: Key, title: str, lead: str = "", trail: str = "", after: str = "") -> Column:
    cell = _of(key, words.number, lambda number: words.number(number, 2))
    return Column(key, Text(title, title), cell, numbers=True, lead=lead, trail=trail, after=after)


def _operations(number: float) -> str:
    return words.count(int(number), short=True) or "0"


def _bytes(number: float) -> str:
    return words.size(int(number)) or "0 B"


def _counted(number: float) -> str:
    return f"{number:,.0f}"


_NOTHING = Text("", "")

COLUMNS = (
    Column("called", Text("called", "called"), _called, quiet=True),
    Column("input", Listing.of("input"), _input, trail=" "),
    Column("output", Listing.of("output"), _output, lead="→ ", after="input"),
    Column("params", Text("params", "params"), _parameters, numbers=True),
    Column("time", Text("time", "time"), _of("time", words.duration, words.duration), numbers=True),
    Column("self", Text("own time", "own"), _of("self", words.duration, words.duration), numbers=True),
    Column("flops", Text("FLOPs", "FLOPs"), _of("flops", _operations, _operations), numbers=True),
    Column("memory", Text("memory", "memory"), _of("memory", _bytes, _bytes), numbers=True),
    _statistic("mean", "mean", trail=" "),
    _statistic("std", "std", lead="± ", after="mean"),
    _statistic("min", "min", trail=" "),
    _statistic("max", "max", lead="… ", after="min"),
    Column("nan", Text("NaN", "NaN"), _of("nan", _counted, _counted), numbers=True),
    Column("grad", Text("grad     ", "grad     "), _gradient, numbers=True),
    Column("from-row", Text("data from", "data from"), _from_row),
    Column("from", Place("from"), _source, quiet=True),
)
"""Every column but that of the names, from left to right."""

BY_KEY = {column.key: column for column in COLUMNS}

NAME_TITLE = Name("", "module", "")

MEASURED_BY: dict[Key, str] = {"flops": "--costs", **dict.fromkeys(STATISTICS, "--stats"), "grad": "--backward"}
"""The option that measures what is in a column, where it is not measured anyway."""

USUAL = ("called", "input", "output", "params", "from")
"""The columns that every trace has something for."""


def columns_of(keys: Sequence[str], numbers: Numbers) -> tuple[Column, ...]:
    """The columns with these keys, in their order; without any, the usual ones and those of what was measured."""
    if keys:
        return tuple(BY_KEY[key] for key in dict.fromkeys(keys))
    shown = {*USUAL, *numbers.measured()}
    return tuple(column for column in COLUMNS if column.key in shown)


def style_of(column: Column, event: Event, numbers: Numbers) -> str:
    """The style of a cell that a person must not overlook; nothing for any other."""
    if column.key == "called":
        return "bold red" if isinstance(event, Call) and event.entry == "forward" else ""
    if column.key == "nan":
        return "bold red"
    if column.key == "grad":
        norm = numbers.of(event, "grad")
        return "bold red" if norm is not None and (norm == NO_GRADIENT or math.isnan(norm)) else ""
    return ""


def notes_on(columns: Sequence[Column]) -> list[str]:
    """What the numbers in these columns do not say by themselves."""
    keys = {column.key for column in columns}
    notes = []
    if keys & {*STATISTICS}:
        notes.append("mean, std, min and max: those of the output")
    if "nan" in keys:
        notes.append("NaN: how many elements of the output are NaN or infinite")
    if "grad" in keys:
        notes.append("grad: the norm over a module's parameters; a cell of the bar is a factor of ten")
    return notes


def notes_on_absent(keys: Sequence[str], numbers: Numbers) -> list[str]:
    """Which of the columns that were asked for have no number, and what measures it."""
    there = numbers.measured()
    absent = [key for key in MEASURED_BY if key in keys and key not in there]
    options = " ".join(dict.fromkeys(MEASURED_BY[key] for key in absent))
    notes = [f"{', '.join(absent)}: nothing in this trace; measured with {options}"] if absent else []
    if "nan" in keys and "nan" not in there:
        notes.append("nan: nothing in this trace, as far as --check-finite looked")
    return notes


def name_of(row: Row, event: Event, sheet: Sheet) -> Name:
    """The first cell of a row: its guides, the name of the module or op, and the class of the module."""
    class_name = event.class_name if isinstance(event, Call) and event.path else ""
    return Name(row.guides, calls.label(event, row.parent, sheet), sheet.text(class_name))


def cells_of(seen: Seen, columns: Sequence[Column], sheet: Sheet) -> dict[str, Cell]:
    """The other cells of a row, before anything is cut."""
    return {column.key: column.cell(seen, sheet) for column in columns}


def name_files_once(rows: Sequence[dict[str, Cell]]) -> None:
    """Leave a line of the file that the row above names as `:392`."""
    file = ""
    for cells in rows:
        place = cells["from"].whole
        above, (file, _, line) = file, place.rpartition(":") if place else (file, "", "")
        if place and file == above:
            cells["from"] = Place(f":{line}")
