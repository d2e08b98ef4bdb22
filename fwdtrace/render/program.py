"""What is shown of a program: a line for each of its models, and trees that fit one screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from fwdtrace.render.kept_calls import Model, alike, look
from fwdtrace.render.lines import Line, print_lines
from fwdtrace.render.marks import MARKED
from fwdtrace.render.sheet import sheet_for
from fwdtrace.render.tree import tree_lines
from fwdtrace.trace import Trace
from fwdtrace.trace.text import plural

SCREEN = 60
"""The most lines that are shown where nobody asked for more."""
SCREEN_WITH_TRACEBACK = 40
"""The same beside the traceback of the program, which takes some lines itself."""
ROOM_FOR_CRASH = 26
"""The lines for the call that raised."""
MARK = f"{MARKED[0]} "
"""What stands in the row that made what is not finite."""
MOST_TREES = 4
LEAST_OF_EVENT = 20
"""The fewest lines for a call in which something happened: its names, the row, the numbers and what was found."""
LEAST_LINES = 8
"""A tree cut to fewer lines says too little."""


def print_program(
    models: Sequence[Model],
    console: Console,
    *,
    depth: int | None,
    fold: bool,
    beside: int,
    screen: int = SCREEN,
    columns: Sequence[str] = (),
    only: Sequence[str] = (),
) -> str:
    """Print the trees, one for all that are alike, on one `screen` with `beside` other lines.

    What this returns says what was left out and how to see it; all is shown if a depth is given or `fold` is false.
    """
    traces = [group[0] for group in alike([trace for _, traces in models for trace in traces], look)]
    everything = depth is not None or not fold
    shown = traces if everything else _those_with_room(traces, screen - beside - 1)
    trees = [
        list(tree_lines(trace, sheet_for(trace, console.width, console.encoding), depth, fold, columns, only))
        for trace in shown
    ]
    rooms = _rooms([len(lines) for lines in trees], screen - beside - 1 - len(shown))
    cut = False
    for trace, lines, room in zip(shown, trees, rooms, strict=True):
        if not everything and len(lines) > room:
            lines, cut = _fitting(trace, console, lines, max(room, LEAST_LINES), columns, only), True
        print_lines([*lines, []], console)
    left_out = [plural(len(traces) - len(shown), "tree")] if len(traces) > len(shown) else []
    deepest = max((call.depth for trace in traces for call in trace.calls), default=0)
    if not cut and not left_out:
        return ""
    what = " and ".join([*left_out, *(["deeper calls"] if cut else [])])
    return f"left out to fit the screen: {what}; --depth {deepest + 1} shows all, -o FILE.html opens in a browser"


def _those_with_room(traces: list[Trace], room: int) -> list[Trace]:
    """As many traces as there is room for, in their order; those of training before others."""
    count = max(min(MOST_TREES, room // (LEAST_LINES + 1)), 1)
    first = sorted(
        range(len(traces)), key=lambda number: not (traces[number].model.training and traces[number].run.grad)
    )
    return [traces[number] for number in sorted(first[:count])]


def _rooms(needed: list[int], room: int) -> list[int]:
    """How many lines each tree may have: all that it needs if that is no more than its share, else an equal share."""
    rooms = [0] * len(needed)
    waiting = sorted(range(len(needed)), key=lambda number: needed[number])
    for place, number in enumerate(waiting):
        rooms[number] = min(needed[number], room // (len(waiting) - place))
        room -= rooms[number]
    return rooms


def print_crash(trace: Trace, console: Console) -> None:
    """Print the call that raised the error that ended the program, as deep as there is room for."""
    print_lines(crash_lines(trace, console), console)


def crash_lines(trace: Trace, console: Console) -> list[Line]:
    """What is shown of the call that raised."""
    lines = list(tree_lines(trace, sheet_for(trace, console.width, console.encoding), None, True))
    what = "the call that raised"
    if trace.backward_errors:
        what = "run again until backward raises as the program's did"
    elif trace.run.replay:
        what += f", run once more{f': {why}' if (why := trace.run.replay_reason) else ' to be seen'}"
    title: Line = [(f"fwdtrace: {what}", "")]
    return [title, [], *(lines if len(lines) <= ROOM_FOR_CRASH else _middle_cut(lines, ROOM_FOR_CRASH))]


def print_event(
    trace: Trace,
    console: Console,
    *,
    depth: int | None,
    fold: bool,
    columns: Sequence[str],
    only: Sequence[str],
    room: int = SCREEN,
) -> None:
    """Print the call in which something happened, unless a depth is given or `fold` is false in about `room` lines."""
    lines = list(tree_lines(trace, sheet_for(trace, console.width, console.encoding), depth, fold, columns, only))
    everything = depth is not None or not fold
    room = max(room, LEAST_OF_EVENT)
    print_lines(lines if everything or len(lines) <= room else _around_what_happened(lines, room), console)


def _fitting(
    trace: Trace, console: Console, lines: list[Line], room: int, columns: Sequence[str], only: Sequence[str]
) -> list[Line]:
    """The lines of the tree as deep as there is room for; if no depth fits, without some in the middle."""
    sheet = sheet_for(trace, console.width, console.encoding)
    deepest = max((call.depth for call in trace.calls), default=0)
    fitting = None
    for depth in range(deepest + 1):
        lines = list(tree_lines(trace, sheet, depth, True, columns, only))
        if len(lines) > room:
            break
        fitting = lines
    if fitting is not None:
        return fitting
    return _middle_cut(lines, room)


def _around_what_happened(lines: list[Line], room: int) -> list[Line]:
    """What stands above and below the rows of the tree, the row that has a mark, its callers, and the rows near it."""
    blanks = [number for number, line in enumerate(lines) if not line]
    texts = ["".join(text for text, _ in line) for line in lines]
    first, end = (blanks[0] + 2, blanks[1]) if len(blanks) > 1 else (0, 0)
    marked = next((number for number in range(first, end) if MARK in texts[number]), None)
    near = room - first - (len(lines) - end)
    if marked is None or near < 0:
        return _middle_cut(lines, room)
    shown, depth = {marked}, _indent(texts[marked])
    for number in range(marked - 1, first - 1, -1):  # its callers
        if _indent(texts[number]) < depth:
            shown.add(number)
            depth = _indent(texts[number])
    nearest = sorted(range(first, end), key=lambda number: (abs(number - marked), number))
    shown.update([number for number in nearest if number not in shown][: max(near - len(shown) - 3, 0)])
    rows: list[Line] = []
    before = first - 1
    for number in [*sorted(shown), end]:
        if number > before + 1:
            rows.append([(f"… {plural(number - before - 1, 'line')}", "dim")])
        rows += [lines[number]] if number < end else []
        before = number
    return [*lines[:first], *rows, *lines[end:]]


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip("│├└┄╴|+`:- "))


def _middle_cut(lines: list[Line], room: int) -> list[Line]:
    """The first and the last lines, the last ones being those that say most."""
    first = room // 4
    last = room - first - 1
    note: Line = [(f"… {len(lines) - first - last} lines", "dim")]
    return [*lines[:first], note, *lines[len(lines) - last :]]
