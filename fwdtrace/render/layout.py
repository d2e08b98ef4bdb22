"""How wide the columns of the tree are: in full if that fits, else shortened, then dropped, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from fwdtrace.render.cells import Cell, Name
from fwdtrace.render.columns import COLUMNS, NAME_TITLE, TITLES, Cells
from fwdtrace.render.words import cut

CUT = ("name", "inputs", "outputs", "from_row", "source")
"""The columns that can be cut; the others are shown whole, in short, or not at all."""

DROPPED_FIRST = ("source", "parameters", "time", "inputs", "entry", "from_row", "outputs")
"""The columns in the order in which they are given up where there is no room."""

COMFORTABLE = {"name": 30, "inputs": 16, "outputs": 16, "from_row": 16, "source": 12}
"""The widths below which no column is cut as long as short forms of others make room."""

BEARABLE = {"name": 0, "inputs": 0, "outputs": 0, "from_row": 12, "source": 10}
"""The widths below which no column is cut as long as all of them are shown."""

LEAST = {"name": 16, "inputs": 8, "outputs": 8, "from_row": 8, "source": 0}
"""The widths below which no column is cut once others have been dropped."""

SHARE_OF_NAMES = 0.35
"""The part of the width that names may take before anything else is shown in full."""

NEARLY_ALL = 0.9
"""The share of rows that matters for a width; a few long ones are cut instead."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The width of each column in cells, 0 if it is not shown.

    `gap` is the width between columns, `short` are the columns that show the least of each cell, `dropped` those that
    were left out for want of room.
    """

    sizes: Mapping[str, int]
    gap: int
    short: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> int:
        return self.sizes[key]

    @property
    def total(self) -> int:
        """The width of a row in cells."""
        shown = [column for column in COLUMNS if self[column.key]]
        cells = sum(self[column.key] + len(column.lead) + len(column.trail) for column in shown)
        gaps = len(shown) - sum(bool(column.after and self[column.after]) for column in shown)
        return self["name"] + cells + self.gap * (gaps if self["name"] else gaps - 1)

    def text(self, key: str, cell: Cell) -> str:
        """What a column shows of a cell."""
        return cut(cell.least, self[key]) if key in self.short else cell.within(self[key])

    def with_sizes(self, **sizes: int) -> Layout:
        """The same with other widths for these columns."""
        return replace(self, sizes={**self.sizes, **sizes})

    def without(self, key: str) -> Layout:
        """The same without this column, which is then named among the dropped ones."""
        return replace(self.with_sizes(**{key: 0}), dropped=(*self.dropped, key)) if self[key] else self


def layout_for(names: Sequence[Name], cells: Sequence[Cells], width: int) -> Layout:
    """The layout that shows most of the rows with these names and cells in `width` cells of the terminal."""
    rows: list[Mapping[str, Cell]] = [{"name": NAME_TITLE, **TITLES}]
    rows += [{"name": name, **others} for name, others in zip(names, cells, strict=True)]

    def whole(key: str) -> int:
        return _size(rows, key, lambda cell: cell.whole)

    def least(key: str, share: float = 1.0) -> int:
        return _size(rows, key, lambda cell: cell.least, share)

    exact = Layout({key: whole(key) for key in rows[0]}, gap=2)
    brief = replace(exact.with_sizes(parameters=least("parameters")), gap=1, short=frozenset({"parameters"}))
    for layout in (exact, replace(exact, gap=1), brief):
        if layout.total <= width:
            return layout
    bare = dict.fromkeys(CUT, 0)
    usual = {**bare, **{key: least(key, NEARLY_ALL) for key in ("name", "inputs", "outputs")}}
    shapes = {**usual, "inputs": least("inputs"), "outputs": least("outputs")}
    with_names = {**shapes, "name": min(least("name"), int(width * SHARE_OF_NAMES))}
    briefest = replace(brief.with_sizes(entry=least("entry")), short=brief.short | {"entry"})
    fitting = (
        _shrunk(brief, usual, COMFORTABLE, width)
        or _shrunk(briefest, with_names, BEARABLE, width)
        or _shrunk(briefest, shapes, BEARABLE, width)
        or _shrunk(briefest, usual, BEARABLE, width)
    )
    for key in DROPPED_FIRST:
        if fitting:
            break
        briefest = briefest.without(key)
        enough = usual if key in ("source", "parameters") else bare
        fitting = _shrunk(briefest, enough, LEAST, width)
    return _filled(fitting, exact, rows, width) if fitting else briefest.with_sizes(name=max(width, 1))


def _filled(layout: Layout, exact: Layout, rows: Sequence[Mapping[str, Cell]], width: int) -> Layout:
    """The layout with the room that cut shapes do not take after all, given to entries, names and sources."""
    before = layout
    layout = layout.with_sizes(
        inputs=_size(rows, "inputs", lambda cell: cell.within(before["inputs"])),
        outputs=_size(rows, "outputs", lambda cell: cell.within(before["outputs"])),
    )
    if layout["entry"] and layout.total - layout["entry"] + exact["entry"] <= width:
        layout = replace(layout.with_sizes(entry=exact["entry"]), short=layout.short - {"entry"})
    layout = layout.with_sizes(name=min(exact["name"], layout["name"] + width - layout.total))
    for key in ("from_row", "source"):
        if layout[key]:
            layout = layout.with_sizes(**{key: min(exact[key], layout[key] + width - layout.total)})
    return layout


def _size(rows: Sequence[Mapping[str, Cell]], key: str, text: Callable[[Cell], str], share: float = 1.0) -> int:
    """The width in which this share of the rows is in full, and the title; 0 if only the title is there."""
    title, *sizes = (cell_len(text(row[key])) for row in rows)
    if not any(sizes):
        return 0
    return max(title, sorted(sizes)[int((len(sizes) - 1) * share)])


def _shrunk(layout: Layout, needed: Mapping[str, int], floors: Mapping[str, int], width: int) -> Layout | None:
    """The layout in `width` cells, the source cut first and names last; None if that takes more than they can give."""
    sizes = {key: layout[key] for key in CUT}
    least = {key: min(sizes[key], max(needed[key], floors[key])) for key in CUT}
    over = layout.total - width
    for keys in (("source",), ("from_row",), ("inputs", "outputs"), ("name",)):
        while over > 0 and (cuttable := [key for key in keys if sizes[key] > least[key]]):
            widest = max(cuttable, key=lambda key: sizes[key])
            next_widest = max((sizes[key] for key in cuttable if key != widest), default=0)
            step = min(over, sizes[widest] - least[widest], max(sizes[widest] - next_widest, 1))
            sizes[widest] -= step
            over -= step
    return layout.with_sizes(**sizes) if over <= 0 else None
