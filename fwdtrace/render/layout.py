"""How wide the columns of the tree are: in full if that fits, else shortened, then dropped, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rich.cells import cell_len

from fwdtrace.render.cells import Cell, Name
from fwdtrace.render.columns import NAME_TITLE, Cells, Column
from fwdtrace.render.words import cut

CUT = ("name", "input", "output", "from-row", "from")
"""The columns that can be cut; the others are shown whole, in short, or not at all."""

DROPPED_FIRST = (
    *("from", "params", "input", "called", "from-row", "output"),
    *("self", "time", "memory", "std", "mean", "min", "max", "flops", "grad", "nan"),
)
"""The columns in the order in which they are given up where there is no room."""

COMFORTABLE = {"name": 30, "input": 16, "output": 16, "from-row": 16, "from": 12}
"""The widths below which no column is cut as long as short forms of others make room."""

BEARABLE = {"name": 0, "input": 0, "output": 0, "from-row": 12, "from": 10}
"""The widths below which no column is cut as long as all of them are shown."""

LEAST = {"name": 16, "input": 8, "output": 8, "from-row": 8, "from": 0}
"""The widths below which no column is cut once others have been dropped."""

SHARE_OF_NAMES = 0.35
"""The part of the width that names may take before anything else is shown in full."""

NEARLY_ALL = 0.9
"""The share of rows that matters for a width; a few long ones are cut instead."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The width of each column in cells, 0 if it is not shown.

    `gap` is the width between columns, `short` are the columns that show the least of each cell, `dropped` the titles
    of those that were left out for want of room.
    """

    columns: tuple[Column, ...]
    sizes: Mapping[str, int]
    gap: int
    short: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> int:
        return self.sizes.get(key, 0)

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that have any width, from left to right."""
        return tuple(column for column in self.columns if self[column.key])

    @property
    def total(self) -> int:
        """The width of a row in cells."""
        total, before = self["name"], ""
        for column in self.shown:
            total += self.gap_before(column, before) if before or self["name"] else 0
            total += self[column.key] + len(self.lead(column)) + len(self.trail(column))
            before = column.key
        return total

    def gap_before(self, column: Column, before: str) -> int:
        """The width between a column and the one with the key `before`, which is shown before it."""
        return 0 if column.after and column.after == before else self.gap

    def lead(self, column: Column) -> str:
        """What is written before the cells of a column; a number has no space there where columns stand close."""
        return column.lead.strip() if column.numbers and self.gap == 1 else column.lead

    def trail(self, column: Column) -> str:
        """What is written behind the cells of a column."""
        return column.trail.strip() if column.numbers and self.gap == 1 else column.trail

    def text(self, key: str, cell: Cell) -> str:
        """What a column shows of a cell."""
        return cut(cell.least, self[key]) if key in self.short else cell.within(self[key])

    def with_sizes(self, sizes: Mapping[str, int]) -> Layout:
        """The same with other widths for these columns."""
        return replace(self, sizes={**self.sizes, **sizes})

    def without(self, key: str) -> Layout:
        """The same without this column, which is then named among the dropped ones."""
        if not self[key]:
            return self
        title = next(column.title.whole for column in self.columns if column.key == key)
        return replace(self.with_sizes({key: 0}), dropped=(*self.dropped, title.strip()))


def layout_for(
    columns: Sequence[Column], names: Sequence[Name], cells: Sequence[Cells], width: int, dull: str = ""
) -> Layout:
    """The layout that shows most of the rows with these names and cells in `width` cells of the terminal.

    `dull` is the key of a column that says nothing special: it is there only if all others are in full.
    """
    titles = {column.key: column.title for column in columns}
    rows: list[Mapping[str, Cell]] = [{"name": NAME_TITLE, **titles}]
    rows += [{"name": name, **others} for name, others in zip(names, cells, strict=True)]

    def whole(key: str) -> int:
        return _size(rows, key, lambda cell: cell.whole)

    def least(key: str, share: float = 1.0) -> int:
        return _size(rows, key, lambda cell: cell.least, share) if key in rows[0] else 0

    exact = Layout(tuple(columns), {key: whole(key) for key in rows[0]}, gap=2)
    without_dull = exact.with_sizes({dull: 0}) if dull else exact
    for layout in (exact, replace(exact, gap=1), without_dull, replace(without_dull, gap=1)):
        if layout.total <= width:
            return layout
    exact = without_dull
    numbers = frozenset(column.key for column in columns if column.numbers)
    brief = replace(exact.with_sizes({key: least(key) for key in numbers}), gap=1, short=numbers)
    if brief.total <= width:
        return brief
    bare = dict.fromkeys(CUT, 0)
    usual = {**bare, **{key: least(key, NEARLY_ALL) for key in ("name", "input", "output")}}
    shapes = {**usual, "input": least("input"), "output": least("output")}
    with_names = {**shapes, "name": min(least("name"), int(width * SHARE_OF_NAMES))}
    briefest = brief
    if brief["called"]:
        briefest = replace(brief.with_sizes({"called": least("called")}), short=brief.short | {"called"})
    # what was measured is worth more than parameters and lines, and nothing without whole names
    whole_output = {**usual, "output": least("output"), "name": with_names["name"]}
    needed: tuple[Mapping[str, int], ...]
    needed = (whole_output, with_names) if numbers - {"params"} else (with_names, shapes, usual)
    fitting = _shrunk(brief, usual, COMFORTABLE, width) or _first_shrunk(briefest, needed, BEARABLE, width)
    for key in DROPPED_FIRST:
        if fitting:
            break
        briefest = briefest.without(key)
        if key in ("from", "params"):
            needed = (*needed, usual)
        else:
            needed = (whole_output, usual, {**bare, "output": usual["output"]}, bare)
        fitting = _first_shrunk(briefest, needed, LEAST, width)
    return _filled(fitting, exact, rows, width) if fitting else briefest.with_sizes({"name": max(width, 1)})


def _filled(layout: Layout, exact: Layout, rows: Sequence[Mapping[str, Cell]], width: int) -> Layout:
    """The layout with the room that cut shapes do not take after all, given to entries, names and sources."""
    for key in ("input", "output"):
        if width_before := layout[key]:
            layout = layout.with_sizes({key: _size(rows, key, partial(_within, width_before))})
    if layout["called"] and layout.total - layout["called"] + exact["called"] <= width:
        layout = replace(layout.with_sizes({"called": exact["called"]}), short=layout.short - {"called"})
    layout = layout.with_sizes({"name": min(exact["name"], layout["name"] + width - layout.total)})
    for key in ("from-row", "from"):
        if layout[key]:
            layout = layout.with_sizes({key: min(exact[key], layout[key] + width - layout.total)})
    return layout


def _within(width: int, cell: Cell) -> str:
    return cell.within(width)


def _size(rows: Sequence[Mapping[str, Cell]], key: str, text: Callable[[Cell], str], share: float = 1.0) -> int:
    """The width in which this share of the rows is in full, and the title; 0 if only the title is there."""
    title, *sizes = (cell_len(text(row[key])) for row in rows)
    if not any(sizes):
        return 0
    return max(title, sorted(sizes)[int((len(sizes) - 1) * share)])


def _first_shrunk(
    layout: Layout, needed: Sequence[Mapping[str, int]], floors: Mapping[str, int], width: int
) -> Layout | None:
    """The layout shrunk to the first of these needs that `width` cells have room for; None if they have for none."""
    return next(filter(None, (_shrunk(layout, need, floors, width) for need in needed)), None)


def _shrunk(layout: Layout, needed: Mapping[str, int], floors: Mapping[str, int], width: int) -> Layout | None:
    """The layout in `width` cells, the source cut first and names last; None if that takes more than they can give."""
    sizes = {key: layout[key] for key in CUT if key in layout.sizes}
    least = {key: min(size, max(needed[key], floors[key])) for key, size in sizes.items()}
    over = layout.total - width
    for keys in (("from",), ("from-row",), ("input", "output"), ("name",)):
        while over > 0 and (cuttable := [key for key in keys if key in sizes and sizes[key] > least[key]]):
            widest = max(cuttable, key=lambda key: sizes[key])
            next_widest = max((sizes[key] for key in cuttable if key != widest), default=0)
            step = min(over, sizes[widest] - least[widest], max(sizes[widest] - next_widest, 1))
            sizes[widest] -= step
            over -= step
    return layout.with_sizes(sizes) if over <= 0 else None
