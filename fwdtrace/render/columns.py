"""The columns of the tree: their titles, and what they show of a call or op."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fwdtrace.render import calls, shapes, words
from fwdtrace.render.cells import Cell, Listing, Name, Place, Text
from fwdtrace.render.rows import Row
from fwdtrace.render.sheet import Sheet
from fwdtrace.trace import Call, Event, TensorMeta, Trace, tensors_in
from fwdtrace.trace.text import source_text

Cells = Mapping[str, Cell]
"""The cells of one row, but for its name, by the key of their column."""


class Seen(NamedTuple):
    """A call or op as a row of the tree, and what is in the row above it, if there is one."""

    event: Event
    above: Event | None
    trace: Trace


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key and its title, and the cell of a call or op in it; `name` is what it is asked for by.

    `numbers` stand at its right edge; it is `quiet` if it is dim wherever the row has no style of its own. `lead` is
    written before each cell and `trail` behind it. There is no gap between a column and the one that it is `after`.
    """

    key: str
    name: str
    title: Cell
    cell: Callable[[Seen, Sheet], Cell]
    numbers: bool = False
    quiet: bool = False
    lead: str = ""
    trail: str = ""
    after: str = ""


def _entry(seen: Seen, sheet: Sheet) -> Cell:
    event = seen.event
    return Text(calls.entry(event), calls.entry(event, short=True)) if isinstance(event, Call) else _NOTHING


def _inputs(seen: Seen, sheet: Sheet) -> Cell:
    return shapes.inputs(seen.event, sheet)


def _outputs(seen: Seen, sheet: Sheet) -> Cell:
    return shapes.outputs(seen.event, sheet)


def _parameters(seen: Seen, sheet: Sheet) -> Cell:
    event = seen.event
    if not isinstance(event, Call):
        return _NOTHING
    return Text(words.count(event.parameters), words.count(event.parameters, short=True))


def _time(seen: Seen, sheet: Sheet) -> Cell:
    event = seen.event
    if not isinstance(event, Call) or event.duration_us is None:
        return _NOTHING
    return Text(text := words.duration(event.duration_us), text)


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
    return Text(text := ", ".join(dict.fromkeys(_origin(leaf, seen, sheet) for leaf in further)), text)


def _origin(leaf: TensorMeta, seen: Seen, sheet: Sheet) -> str:
    """What gave a tensor its numbers: a row, by its name and an op's line; an argument or what a module holds; or ?."""
    producer = seen.trace.flow.producer(leaf)
    if producer is None:
        return sheet.text(source_text(leaf)) or "?"
    name = calls.label(producer, seen.trace.caller(seen.event), sheet)
    return name if isinstance(producer, Call) or not producer.site else f"{name} :{producer.site.line}"


_NOTHING = Text("", "")

COLUMNS = (
    Column("entry", "called", Text("called", "called"), _entry, quiet=True),
    Column("inputs", "input", Listing.of("input"), _inputs, trail=" "),
    Column("outputs", "output", Listing.of("output"), _outputs, lead="→ ", after="inputs"),
    Column("parameters", "params", Text("params", "params"), _parameters, numbers=True),
    Column("time", "time", Text("time", "time"), _time, numbers=True),
    Column("from_row", "from-row", Text("data from", "data from"), _from_row),
    Column("source", "from", Place("from"), _source, quiet=True),
)
"""Every column but that of the names, from left to right."""

UNASKED = ("called", "input", "output", "params", "from")
"""The names of the columns that are shown if none are asked for."""

NAME_TITLE = Name("", "module", "")
TITLES: Cells = {column.key: column.title for column in COLUMNS}


def name_of(row: Row, event: Event, sheet: Sheet) -> Name:
    """The first cell of a row: its guides, the name of the module or op, and the class of the module."""
    class_name = event.class_name if isinstance(event, Call) and event.path else ""
    return Name(row.guides, calls.label(event, row.parent, sheet), sheet.text(class_name))


def cells_of(seen: Seen, sheet: Sheet, columns: Collection[str] = UNASKED) -> Cells:
    """The other cells of a row, before anything is cut; empty where the column was not asked for."""
    return {column.key: column.cell(seen, sheet) if column.name in columns else _NOTHING for column in COLUMNS}
