"""How wide the columns of the tree are: in full if that fits, else shortened, then dropped, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.cells import cell_len

from fwdtrace.render.shapes import Listing

CUT = ("name", "inputs", "outputs", "source")
"""The columns that can be cut; those of the entry and the parameters are shown whole or not at all."""

DROPPED_FIRST = ("source", "parameters", "inputs", "entry", "outputs")
COMFORTABLE = {"name": 30, "inputs": 16, "outputs": 16, "source": 12}
BEARABLE = {"name": 0, "inputs": 0, "outputs": 0, "source": 10}
LEAST = {"name": 16, "inputs": 8, "outputs": 8, "source": 0}
SHARE_OF_NAMES = 0.35
"""The part of the width that names may take before anything else is shown in full."""

NEARLY_ALL = 0.9
"""The share of rows that matters for a width; a few long ones are cut instead."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The texts of one row; where there are two, the second is what is shown for want of room."""

    guides: str
    name: str
    class_name: str
    entry: tuple[str, str]
    inputs: Listing
    outputs: Listing
    parameters: tuple[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Columns:
    """The width of each column in cells, 0 if it is not shown, and which of two texts the rows take."""

    gap: int
    name: int
    entry: int
    inputs: int
    outputs: int
    parameters: int
    source: int
    short_entry: bool = False
    short_parameters: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """The width of a row in cells."""
        shapes = self.inputs + self.outputs + (3 if self.inputs else 2) if self.outputs else 0
        shown = [size for size in (self.name, self.entry, shapes, self.parameters, self.source) if size]
        return sum(shown) + self.gap * (len(shown) - 1)


def columns_for(rows: Sequence[Cells], width: int) -> Columns:
    """The columns that show most of these rows in `width` cells; the first row are the titles."""
    exact = Columns(
        gap=2,
        name=_size(rows, lambda row: f"{row.guides}{row.name} {row.class_name}".rstrip()),
        entry=_size(rows, lambda row: row.entry[0]),
        inputs=_size(rows, lambda row: row.inputs.whole),
        outputs=_size(rows, lambda row: row.outputs.whole),
        parameters=_size(rows, lambda row: row.parameters[0]),
        source=_size(rows, lambda row: row.source),
    )
    brief = replace(exact, gap=1, parameters=_size(rows, lambda row: row.parameters[1]), short_parameters=True)
    for columns in (exact, replace(exact, gap=1), brief):
        if columns.total <= width:
            return columns
    bare = dict.fromkeys(CUT, 0)
    usual = {
        "name": _size(rows, lambda row: row.guides + row.name, NEARLY_ALL),
        "inputs": _size(rows, lambda row: row.inputs.least, NEARLY_ALL),
        "outputs": _size(rows, lambda row: row.outputs.least, NEARLY_ALL),
        "source": 0,
    }
    shapes = {
        **usual,
        "inputs": _size(rows, lambda row: row.inputs.least),
        "outputs": _size(rows, lambda row: row.outputs.least),
    }
    names = {**shapes, "name": min(_size(rows, lambda row: row.guides + row.name), int(width * SHARE_OF_NAMES))}
    briefest = replace(brief, entry=_size(rows, lambda row: row.entry[1]), short_entry=True)
    found = (
        _shrunk(brief, usual, COMFORTABLE, width)
        or _shrunk(briefest, names, BEARABLE, width)
        or _shrunk(briefest, shapes, BEARABLE, width)
        or _shrunk(briefest, usual, BEARABLE, width)
    )
    for key in DROPPED_FIRST:
        if found:
            break
        briefest = _without(briefest, key)
        enough = usual if key in ("source", "parameters") else bare
        found = _shrunk(briefest, enough, LEAST, width)
    return _filled(found, exact, rows, width) if found else replace(briefest, name=max(width, 1))


def _filled(columns: Columns, exact: Columns, rows: Sequence[Cells], width: int) -> Columns:
    """The columns with the room that cut shapes do not take after all, given to entries, names and sources."""
    columns = replace(
        columns,
        inputs=_size(rows, lambda row: row.inputs.within(columns.inputs)),
        outputs=_size(rows, lambda row: row.outputs.within(columns.outputs)),
    )
    if columns.entry and columns.total - columns.entry + exact.entry <= width:
        columns = replace(columns, entry=exact.entry, short_entry=False)
    columns = replace(columns, name=min(exact.name, columns.name + width - columns.total))
    return (
        replace(columns, source=min(exact.source, columns.source + width - columns.total))
        if columns.source
        else columns
    )


def _size(rows: Sequence[Cells], text: Callable[[Cells], str], share: float = 1.0) -> int:
    """The width in which this share of the rows is in full, and the title; 0 if only the title is there."""
    title, *sizes = (cell_len(text(row)) for row in rows)
    if not any(sizes):
        return 0
    return max(title, sorted(sizes)[int((len(sizes) - 1) * share)])


def _without(columns: Columns, key: str) -> Columns:
    if not getattr(columns, key):
        return columns
    size: dict[str, Any] = {key: 0}
    return replace(columns, **size, dropped=(*columns.dropped, key))


def _shrunk(columns: Columns, needed: dict[str, int], floors: dict[str, int], width: int) -> Columns | None:
    """The columns in `width` cells, the source cut first and names last; None if that takes more than they can give."""
    sizes: dict[str, Any] = {key: getattr(columns, key) for key in CUT}
    least = {key: min(sizes[key], max(needed[key], floors[key])) for key in CUT}
    over = columns.total - width
    for keys in (("source",), ("inputs", "outputs"), ("name",)):
        while over > 0 and (cuttable := [key for key in keys if sizes[key] > least[key]]):
            sizes[max(cuttable, key=lambda key: int(sizes[key]))] -= 1
            over -= 1
    return replace(columns, **sizes) if over <= 0 else None
