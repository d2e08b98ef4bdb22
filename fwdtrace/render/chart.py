"""Trace -> what a chart of it shows: boxes in boxes, the arrows between them, which way they run, and how deep it goes.

The forms of a chart, Mermaid and Graphviz, write the same boxes and arrows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from rich.cells import cell_len

from fwdtrace.render import calls, shapes
from fwdtrace.render.fold import Repeat
from fwdtrace.render.only import only
from fwdtrace.render.rows import Row, tree_rows
from fwdtrace.render.sheet import Sheet
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Op, Source, Trace, tensors_in
from fwdtrace.trace.text import error_text

SCREEN = (1600, 1000)
"""The pixels of a screen that a reader may have."""

MOST_SCREENS = 3.0
"""How many times as wide or as high as that a chart may be."""

MOST_ROWS = 400
"""A chart of more rows than this is larger in any case."""

MOST_SIDEWAYS = 3
"""So many of the outermost levels may run from left to right."""

LETTER, LINE, PADDING, BESIDE, BEHIND = 8, 24, 20, 20, 25
"""The pixels of a letter, of a line, around the lines of a box, between boxes, and along an arrow, for each level."""

OUTSIDE = -1
"""In the place of the number of a row: what is around the outermost ones."""


@dataclass(frozen=True, slots=True)
class Box:
    """A row of the tree, or data that is given to the box `around` it, named; the outermost ones have none around them.

    `kind` is what is special: `raised`, `marked`, `direct`, `op`, `folded`, `given` or nothing. `level` says how many
    boxes are around it. A box that `is_open` has the next ones in it.
    """

    name: str
    lines: tuple[str, ...]
    kind: str
    level: int
    around: str
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Boxes in order, and arrows between boxes that are in the same one, by their names.

    `meaning` says what an arrow is. The outermost levels run from left to right, as many as `sideways` says, the others
    from top to bottom. `screens` is how many times as large as a screen the chart is. `left_out` says what was not
    asked for.
    """

    boxes: tuple[Box, ...]
    arrows: tuple[tuple[str, str], ...]
    meaning: str
    sideways: int
    screens: float
    left_out: str = ""


def chart_of(
    trace: Trace,
    sheet: Sheet,
    depth: int | None,
    fold: bool,
    fits: Callable[[Chart], bool],
    patterns: Sequence[str] = (),
) -> Chart:
    """The chart of a trace; without `depth` the deepest that can be read and, for what writes it, `fits`.

    `patterns` say what to draw, with its callers.
    """
    part, left_out = only(trace, patterns)
    rows = list(tree_rows(part, depth=depth, fold=fold, deepest=1))
    deepest = max((row.level for row in rows), default=0)
    left_out_text = calls.left_out_text(patterns, len(rows), left_out, sheet) if patterns else ""
    if depth is not None or not deepest:
        return replace(_chart(rows, trace, sheet), left_out=left_out_text)

    def drawn(tried: int) -> Chart:
        shown = rows if tried == deepest else list(tree_rows(part, depth=tried, fold=fold, deepest=1))
        return _chart(
            shown, trace, sheet, f"depth {tried} of {deepest}, --depth {deepest} draws all" if tried < deepest else ""
        )

    most = max(sorted(row.level for row in rows)[:MOST_ROWS])
    least = 1
    while least < most:  # a deeper chart is larger
        tried = (least + most + 1) // 2
        chart = drawn(tried)
        if chart.screens <= MOST_SCREENS and fits(chart):
            least = tried
        else:
            most = tried - 1
    return replace(drawn(least), left_out=left_out_text)


def _chart(rows: list[Row], trace: Trace, sheet: Sheet, note: str = "") -> Chart:
    plan = _Plan(rows)
    flows = trace.flow.is_known
    ways = _ways_of_data(plan, trace, sheet) if flows else _Ways()
    if not flows:
        for siblings in plan.inside.values():
            ways.arrows.update(dict.fromkeys(pairwise(map(_name, siblings))))
    boxes: list[Box] = []
    for number, row in enumerate(rows):
        is_open = number in plan.inside
        lines = tuple(_lines(row, sheet, with_inputs=is_open or not flows))
        if is_open and note and row.level == 0:
            lines = (*lines, note)
        own, around = _name(number), plan.around[number]
        boxes.append(Box(own, lines, _kind(row), row.level, "" if around == OUTSIDE else _name(around), is_open))
        boxes += [Box(name, (text,), "given", row.level + 1, own) for text, name in ways.given.get(number, {}).items()]
    arrows = tuple(ways.arrows)
    sizes = ((_screens(boxes, arrows, sideways), sideways) for sideways in range(MOST_SIDEWAYS + 1))
    screens, sideways = min((max(size, 1.0), sideways) for size, sideways in sizes)  # all is well within a screen
    meaning = "a way that data took" if flows else "the order of running, not a flow of data"
    return Chart(tuple(boxes), arrows, meaning, sideways, screens)


class _Plan:
    """Which row is in which, and which row shows a call or op."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.around: list[int] = []
        self.inside: dict[int, list[int]] = defaultdict(list)
        way = [OUTSIDE]
        for number, row in enumerate(rows):
            del way[row.level + 1 :]
            self.around.append(way[-1])
            self.inside[way[-1]].append(number)
            way.append(number)

    def way_out(self, number: int) -> Iterator[int]:
        """A row and what is around it, up to `OUTSIDE`."""
        while number != OUTSIDE:
            yield number
            number = self.around[number]
        yield OUTSIDE


@dataclass
class _Ways:
    """The arrows in order, and by the number of an open box what is given to it: its text, and the name of its box."""

    arrows: dict[tuple[str, str], None] = field(default_factory=dict)
    given: dict[int, dict[str, str]] = field(default_factory=dict)


def _ways_of_data(plan: _Plan, trace: Trace, sheet: Sheet) -> _Ways:
    """Which box gave a tensor to which other in the same box; what gives back what it was given lies on the way.

    A tensor from further away is given to the outermost box that it goes into, and in there it comes from what is
    given; but if all that is given goes into the first box alone, that is left out.
    """
    ways = _Ways()
    entering: dict[int, dict[tuple[str, int], None]] = defaultdict(dict)
    row_of = _rows_of_events(plan, trace)
    names = {number: _names_of_inputs(plan.rows[number]) for number in plan.inside if number != OUTSIDE}
    for event in trace.events:
        user = row_of[event.id]
        if user in plan.inside:  # what is inside an open box is drawn there
            continue
        for leaf in tensors_in(event.inputs):
            producer = trace.flow.handed_on_by(leaf, event) or trace.flow.producer(leaf)
            maker = row_of[producer.id] if producer is not None else OUTSIDE
            if maker == user:
                continue
            places = dict(pairwise(reversed(list(plan.way_out(maker)))))
            into = user
            for around in list(plan.way_out(user))[1:]:
                if around in places:
                    if places[around] != into:
                        ways.arrows[_name(places[around]), _name(into)] = None
                    break
                if around == OUTSIDE:
                    break
                text = names[around].get((leaf.source, leaf.changed_by), "")
                if not text and maker != OUTSIDE:
                    text = next(_lines(plan.rows[maker], sheet, with_inputs=False))
                if text:
                    entering[around][text, into] = None
                into = around
    for around, entries in entering.items():
        if {into for _, into in entries} == {plan.inside[around][0]}:
            continue
        named = ways.given[around] = {}
        for text, into in entries:
            name = named.setdefault(text, f"{_name(around)}in{len(named)}")
            ways.arrows[name, _name(into)] = None
    return ways


def _rows_of_events(plan: _Plan, trace: Trace) -> dict[int, int]:
    """By the id of each call and op the number of the row that shows it, or shows what it is in."""
    shown = {row.entry.id: number for number, row in enumerate(plan.rows) if not isinstance(row.entry, Repeat)}
    repeats: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for number, row in enumerate(plan.rows):
        if isinstance(row.entry, Repeat):
            first, last = trace.end(row.entry.first[-1]) + 1, trace.end(row.entry.last[-1])
            repeats[plan.around[number]].append((first, last, number))
    found: dict[int, int] = {}
    for event in trace.events:
        if event.id in shown:
            found[event.id] = shown[event.id]
            continue
        around = OUTSIDE if event.parent is None else found[event.parent]
        folded = (number for first, last, number in repeats[around] if first <= event.id <= last)
        found[event.id] = next(folded, around)
    return found


def _names_of_inputs(row: Row) -> dict[tuple[Source | None, int | None], str]:
    """The arguments of a call by the tensors in them; each tensor by where it was made and what wrote into it since."""
    if isinstance(row.entry, Repeat):
        return {}
    named = ((leaf, printable(shapes.root_of(leaf.name))) for leaf in tensors_in(row.entry.inputs))
    return {(leaf.source, leaf.changed_by): name for leaf, name in named if leaf.source is not None}


def _name(number: int) -> str:
    return f"n{number}"


def _lines(row: Row, sheet: Sheet, *, with_inputs: bool) -> Iterator[str]:
    """The text in the box of a row."""
    entry = row.entry
    if isinstance(entry, Repeat):
        yield calls.repeat_label(entry, row.parent, sheet)
        yield calls.repeat_count(entry, sheet)
        yield f"+{calls.amount_text(entry.hidden)}, --no-fold shows them"
        return
    name = calls.label(entry, row.parent, sheet)
    yield f"{name} {printable(entry.class_name)}" if isinstance(entry, Call) and entry.path else name
    given = f"{shapes.inputs(entry, sheet).least} " if with_inputs else ""
    yield f"{given}→ {shapes.outputs(entry, sheet).least}"
    if isinstance(entry, Call):
        if entry.entry == "forward":
            yield calls.entry(entry)
        yield from calls.marks(entry)
    yield from row.marks
    if entry.error and not entry.error.raised_below:
        yield f"✗ {sheet.text(error_text(entry.error))}"
    if any(row.cut):
        yield f"+{calls.amount_text(row.cut)}, --depth {row.level + 1} shows more"


def _kind(row: Row) -> str:
    entry = row.entry
    if isinstance(entry, Repeat):
        return "folded"
    if entry.error:
        return "raised"
    if row.marks:
        return "marked"
    if isinstance(entry, Op):
        return "op"
    return "direct" if entry.entry == "forward" else ""


def _screens(boxes: list[Box], arrows: tuple[tuple[str, str], ...], sideways: int) -> float:
    """How many times as large as a screen a chart is about, the outermost `sideways` levels from left to right."""
    makers: dict[str, list[str]] = defaultdict(list)
    for maker, user in arrows:
        makers[user].append(maker)
    inside: dict[int, list[tuple[str, int, int]]] = defaultdict(list)  # by level: what the box around them has so far
    for box in reversed(boxes):
        width = LETTER * max(map(cell_len, box.lines)) + 2 * PADDING
        height = LINE * len(box.lines) + PADDING
        if box.is_open:
            wide, high = _extent(reversed(inside.pop(box.level + 1)), makers, box.level + 1, box.level < sideways)
            title = LETTER * sum(map(cell_len, box.lines))
            width, height = max(title, wide) + PADDING, high + LINE + PADDING
        inside[box.level].append((box.name, width, height))
    wide, high = _extent(reversed(inside.pop(0, [])), makers, 0, sideways > 0)
    return max(wide / SCREEN[0], high / SCREEN[1])


def _extent(
    boxes: Iterable[tuple[str, int, int]], makers: dict[str, list[str]], level: int, is_sideways: bool
) -> tuple[int, int]:
    """The width and the height of boxes, each of which stands behind those that lead to it."""
    ranks: dict[str, int] = {}
    along: dict[int, int] = defaultdict(int)
    across: dict[int, int] = defaultdict(int)
    for name, width, height in boxes:
        rank = ranks[name] = max((ranks.get(maker, -1) + 1 for maker in makers[name]), default=0)
        length, breadth = (width, height) if is_sideways else (height, width)
        along[rank] = max(along[rank], length)
        across[rank] += breadth + BESIDE
    length, breadth = sum(along.values()) + (5 + BEHIND * level) * len(along), max(across.values(), default=0)
    return (length, breadth) if is_sideways else (breadth, length)
