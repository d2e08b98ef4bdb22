"""How wide the columns of the tree are: in full if that fits, else shortened, then dropped, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.cells import cell_len

SMALLEST = {"name": 20, "inputs": 9, "outputs": 9, "source": 10}
"""What the columns that can be cut are cut to, before whole columns are dropped."""

DROPPED_FIRST = ("source", "parameters", "inputs", "entry", "outputs")
MOST_ROWS = 0.85
"""The share of rows that stay in full when long ones are cut to keep the columns."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The texts of one row, in full and, where there are two, in short."""

    guides: str
    name: str
    class_name: str
    entry: tuple[str, str]
    inputs: str
    outputs: str
    parameters: tuple[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Columns:
    """The width of each column in cells, 0 if it is dropped, and which of the two texts the rows take."""

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
    """The columns that show most of these rows in `width` cells."""
    whole = {short: _columns(rows, short, 1.0) for short in (False, True)}
    most = {short: _columns(rows, short, MOST_ROWS) for short in (False, True)}
    exact = whole[False]
    brief = replace(exact, gap=1, parameters=whole[True].parameters, short_parameters=True)
    briefest = replace(brief, entry=whole[True].entry, short_entry=True)
    for columns in (exact, replace(exact, gap=1), brief):
        if columns.total <= width:
            return columns
    least = {key: min(size, getattr(exact, key)) for key, size in SMALLEST.items()}
    usual = {key: max(least[key], getattr(most[False], key)) for key in SMALLEST}
    for columns, floors in ((brief, usual), (briefest, usual), (briefest, least)):
        shrunk = _shrunk(columns, floors, width)
        if shrunk:
            return shrunk
    for key in DROPPED_FIRST:
        briefest = _without(briefest, key)
        shrunk = _shrunk(briefest, least, width)
        if shrunk:
            return shrunk
    return replace(briefest, name=max(width, 1))


def _without(columns: Columns, key: str) -> Columns:
    sizes: dict[str, Any] = {key: 0}
    return replace(columns, **sizes, dropped=(*columns.dropped, key)) if getattr(columns, key) else columns


def _columns(rows: Sequence[Cells], short: bool, share: float) -> Columns:
    """Columns in which this share of the rows is in full."""

    def size(texts: list[str]) -> int:
        sizes = sorted(map(cell_len, texts))
        return sizes[int((len(sizes) - 1) * share)] if sizes else 0

    return Columns(
        gap=1 if short else 2,
        name=size([f"{row.guides}{row.name} {row.class_name}".rstrip() for row in rows]),
        entry=size([row.entry[short] for row in rows]),
        inputs=size([row.inputs for row in rows]),
        outputs=size([row.outputs for row in rows]),
        parameters=size([row.parameters[short] for row in rows]),
        source=size([row.source for row in rows]),
    )


def _shrunk(columns: Columns, floors: dict[str, int], width: int) -> Columns | None:
    """The same columns in `width` cells, the widest cut first; None if they cannot be made that narrow."""
    sizes: dict[str, Any] = {key: getattr(columns, key) for key in SMALLEST}
    over = columns.total - width
    while over > 0:
        cuttable = [key for key in sizes if sizes[key] > floors[key]]
        if not cuttable:
            return None
        sizes[max(cuttable, key=lambda key: sizes[key])] -= 1
        over -= 1
    return replace(columns, **sizes)
