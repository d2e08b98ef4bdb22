"""A trace as the rows of a tree: what is below what, down to which depth, and the guides in front of each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fwdtrace.render.fold import NOTHING, Amount, Folding, Repeat
from fwdtrace.trace import Call, Event, Trace


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the guides in front of it, and those that go on below it; `cut` is what the depth left out below it.

    `parent` is the call that made what is in the row, `level` how many calls are around it. `marks` says why a person
    must not overlook it, if there is a reason.
    """

    guides: str
    below: str
    entry: Event | Repeat
    parent: Call | None
    level: int
    cut: Amount
    marks: tuple[str, ...] = ()


def tree_rows(trace: Trace, *, depth: int | None, fold: bool, deepest: int) -> Iterator[Row]:
    """Every row of the tree from top to bottom; guides do not go beyond `deepest` levels, numbers stand there instead.

    `depth` cuts below that level, except on the way to a call that raised.
    """
    folding = Folding(trace)
    stack: list[tuple[Call | None, str, int, Iterator[tuple[Event | Repeat, bool]]]] = [
        (None, "", 0, iter(folding.entries(None, fold, True)))
    ]
    while stack:
        parent, guides, level, entries = stack[-1]
        item = next(entries, None)
        if item is None:
            stack.pop()
            continue
        entry, is_last = item
        folded = isinstance(entry, Repeat)
        own, below = _guides(guides, level, is_last, folded, deepest)
        if not isinstance(entry, Call):
            marks = () if isinstance(entry, Repeat) else folding.marks.get(entry.id, ())
            yield Row(own, below, entry, parent, level, NOTHING, marks)
            continue
        open_below = depth is None or level < depth
        children = folding.entries(entry, fold, open_below)
        shown = {child.id for child, _ in children if isinstance(child, Call)}
        cut = NOTHING if open_below else folding.amount(trace.made_by(entry), without=shown)
        marks = folding.marks.get(entry.id, ())
        yield Row(own, below + ("│ " if children else "  "), entry, parent, level, cut, marks)
        stack.append((entry, below, level + 1, iter(children)))


def _guides(above: str, level: int, is_last: bool, folded: bool, deepest: int) -> tuple[str, str]:
    """The guides of a row, and those above its children."""
    if level == 0:
        return "", ""
    if level > deepest:
        return f"{above}⋯{level} ", above
    return above + ("└" if is_last else "├") + ("┄" if folded else "╴"), above + ("  " if is_last else "│ ")
