"""The cells of a table: a whole text, a short one in its place, and as much as a given width takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rich.cells import cell_len

from fwdtrace.render.words import cut, cut_middle

LEAST_OF_NAME = 12
"""Where each of several names would be cut to fewer cells than this, the last ones are only counted."""

LEAST_OF_SHAPE = 4
"""In fewer cells a shape that is cut says nothing, and what is there is only counted."""


class Cell(Protocol):
    """A cell before it is known how wide its column is."""

    @property
    def whole(self) -> str:
        """All of it."""

    @property
    def least(self) -> str:
        """A shorter text in its place, which still says what it is about."""

    def within(self, width: int) -> str:
        """As much of it as this many cells of the terminal take."""


class Text(NamedTuple):
    """A text that is cut at its end; `least` is a shorter form of it."""

    whole: str
    least: str

    def within(self, width: int) -> str:
        """The text, ending in … if it was longer."""
        return cut(self.whole, width)


class Place(NamedTuple):
    """A file and line; where there is no room it is the file that is cut."""

    whole: str

    @property
    def least(self) -> str:
        """All of it, as a line has no shorter form."""
        return self.whole

    def within(self, width: int) -> str:
        """All of it if that fits; else less of the file and all of the line."""
        if cell_len(self.whole) <= width:
            return self.whole
        file, _, line = self.whole.rpartition(":")
        return cut(cut(file, max(width - len(line) - 1, 0)) + f":{line}", width)


class Name(NamedTuple):
    """The first cell of a row: guides of the tree, a name, and a class that is left out where there is no room."""

    guides: str
    name: str
    class_name: str

    @property
    def whole(self) -> str:
        """Guides, name and class."""
        return f"{self.guides}{self.name} {self.class_name}".rstrip()

    @property
    def least(self) -> str:
        """Guides and name."""
        return self.guides + self.name

    def within(self, width: int) -> str:
        """All of it, ending in … if it was longer."""
        return cut(self.whole, width)


class Origins(NamedTuple):
    """What the inputs of a row came from. Such names differ at their ends, so they are cut in the middle."""

    names: tuple[str, ...]

    @property
    def whole(self) -> str:
        """All names."""
        return ", ".join(self.names)

    @property
    def least(self) -> str:
        """All names, which have no shorter form."""
        return self.whole

    def within(self, width: int) -> str:
        """All names if they fit, cut alike if need be; else the first ones, and how many are left out."""
        if cell_len(self.whole) <= width:
            return self.whole
        for number in range(min(len(self.names), width // 4), 0, -1):
            left_out = len(self.names) - number
            more = f", +{left_out}" if left_out else ""
            room = max(width - len(more) - 2 * (number - 1), 0)
            sizes = [cell_len(name) for name in self.names[:number]]
            share = next(size for size in range(width, -1, -1) if sum(min(size, each) for each in sizes) <= room)
            if number == 1 or share >= min(LEAST_OF_NAME, max(sizes)):
                return cut(", ".join(cut_middle(name, share) for name in self.names[:number]) + more, width)
        return cut(self.whole, width)


class Listing(NamedTuple):
    """What goes into a call, or comes out of it: `whole` is all of it by name, `least` its first shape and a count.

    `shapes` are those of its tensors, `leaves` is how many leaves there are, `bundle` whether they are parts of a tuple
    or another container. `fields` are the parts of an output whose parts have names, each with how many leaves it is.
    """

    whole: str
    least: str
    shapes: tuple[str, ...]
    leaves: int = 1
    bundle: bool = False
    fields: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, text: str) -> Listing:
        """A listing that is this text."""
        return cls(text, text, (text,))

    def within(self, width: int) -> str:
        """All of it if that fits; else as many fields or shapes as fit, and how many leaves are left out."""
        if 2 * len(self.whole) <= width or cell_len(self.whole) <= width:  # no letter is wider than two cells
            return self.whole
        for number in range(min(len(self.fields) - 1, width), 0, -1):
            texts, sizes = zip(*self.fields[:number], strict=True)
            text = joined(texts, self.leaves - sum(sizes), self.bundle)
            if cell_len(text) <= width:
                return text
        for number in range(min(len(self.shapes), width), 1, -1):
            text = joined(self.shapes[:number], self.leaves - number, self.bundle)
            if cell_len(text) <= width:
                return text
        room = width - cell_len(self.least) + cell_len(self.shapes[0])
        if self.leaves > 1 and room < min(LEAST_OF_SHAPE, cell_len(self.shapes[0])):
            for noun in ("tensors", "leaves") if len(self.shapes) == self.leaves else ("leaves",):
                counted = joined([f"{self.leaves} {noun}"], 0, self.bundle)
                if cell_len(counted) <= width:
                    return counted
        if room <= 1:
            return _cut_between_sizes(self.least, width)
        return joined([_cut_between_sizes(self.shapes[0], room)], self.leaves - 1, self.bundle)


def _cut_between_sizes(text: str, width: int) -> str:
    """The text cut at its end, but in no number, as `1×16×3…` for `1×16×32000` looks like another shape."""
    shown = cut(text, width)
    end = len(shown) - 1
    if shown == text or end < 1 or not text[end - 1 : end + 1].isdecimal():
        return shown
    return shown[:end].rstrip("0123456789") + "…"


def joined(texts: Sequence[str], left_out: int, bundle: bool) -> str:
    """The texts between commas, and how many are left out: `2×3, …1 more`; in brackets if they are a bundle."""
    text = ", ".join([*texts, f"…{left_out} more"] if left_out else texts)
    return f"({text})" if bundle else text
