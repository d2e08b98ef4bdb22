"""The columns of the tree: their titles, and what they show of a call or op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fwdtrace.render import calls, shapes, words
from fwdtrace.render.cells import Cell, Listing, Name, Place, Text
from fwdtrace.render.rows import Row
from fwdtrace.render.sheet import Sheet
from fwdtrace.trace import Call, Event

Cells = Mapping[str, Cell]
"""The cells of one row, but for its name, by the key of their column."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key and its title, and the cell of a call or op in it.

    `numbers` stand at its right edge; it is `quiet` if it is dim wherever the row has no style of its own. `lead` is
    written before each cell and `trail` behind it. There is no gap between a column and the one that it is `after`.
    """

    key: str
    title: Cell
    cell: Callable[[Event, Sheet], Cell]
    numbers: bool = False
    quiet: bool = False
    lead: str = ""
    trail: str = ""
    after: str = ""


def _entry(event: Event, sheet: Sheet) -> Cell:
    return Text(calls.entry(event), calls.entry(event, short=True)) if isinstance(event, Call) else _NOTHING


def _parameters(event: Event, sheet: Sheet) -> Cell:
    if not isinstance(event, Call):
        return _NOTHING
    return Text(words.count(event.parameters), words.count(event.parameters, short=True))


def _source(event: Event, sheet: Sheet) -> Cell:
    return Place(calls.source(event.site, sheet))


_NOTHING = Text("", "")

COLUMNS = (
    Column("entry", Text("called", "called"), _entry, quiet=True),
    Column("inputs", Listing.of("input"), shapes.inputs, trail=" "),
    Column("outputs", Listing.of("output"), shapes.outputs, lead="→ ", after="inputs"),
    Column("parameters", Text("params", "params"), _parameters, numbers=True),
    Column("source", Place("from"), _source, quiet=True),
)
"""Every column but that of the names, from left to right."""

NAME_TITLE = Name("", "module", "")
TITLES: Cells = {column.key: column.title for column in COLUMNS}


def name_of(row: Row, event: Event, sheet: Sheet) -> Name:
    """The first cell of a row: its guides, the name of the module or op, and the class of the module."""
    class_name = event.class_name if isinstance(event, Call) and event.path else ""
    return Name(row.guides, calls.label(event, row.parent, sheet), sheet.text(class_name))


def cells_of(event: Event, sheet: Sheet) -> Cells:
    """The other cells of a row, before anything is cut."""
    return {column.key: column.cell(event, sheet) for column in COLUMNS}
