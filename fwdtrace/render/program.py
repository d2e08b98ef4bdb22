"""What is shown of a program: a line for each of its models, and trees that fit one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console

from fwdtrace.render.happened import EVENTS, replay_text, span, steps_lines
from fwdtrace.render.lines import Line, print_lines
from fwdtrace.render.sheet import sheet_for
from fwdtrace.render.tree import tree_lines
from fwdtrace.render.words import cut, printable
from fwdtrace.trace import Call, Trace
from fwdtrace.trace.called import Called, Mode
from fwdtrace.trace.text import listed, multiplied, plural, shapes_text

SCREEN = 60
"""The most lines that are shown where nobody asked for more."""
ROOM_FOR_CRASH = 26
"""The lines for the call that raised."""
MOST_LISTED = 12
MOST_LETTERS = 50
MOST_TREES = 4
LEAST_LINES = 8
"""A tree cut to fewer lines says too little."""

Model = tuple[Called, list[Trace]]
"""A model of a program, and the traces of its calls that were kept."""


def model_lines(models: Sequence[Model]) -> list[str]:
    """A line for each model, models that ran alike in one: how often it was called, and which calls were kept."""
    groups = [group for group in _alike(models, _looks) if group[0][1]]
    kinds = Counter(called.wraps or called.class_name.rpartition(".")[2] for called, _ in models)
    twice = {kind for kind, count in kinds.items() if count > 1}
    lines = [_model_line(group, twice) for group in groups[:MOST_LISTED]]
    if len(groups) > MOST_LISTED:
        lines.append(f"{plural(len(groups) - MOST_LISTED, 'more model')}")
    return lines


def print_program(
    models: Sequence[Model],
    console: Console,
    *,
    depth: int | None,
    fold: bool,
    beside: int,
    columns: Sequence[str] = (),
    only: Sequence[str] = (),
) -> str:
    """Print the trees, one for all that are alike, on one screen with `beside` other lines.

    What this returns says what was left out and how to see it; all is shown if a depth is given or `fold` is false.
    """
    traces = [group[0] for group in _alike([trace for _, traces in models for trace in traces], _look)]
    everything = depth is not None or not fold
    shown = traces if everything else _those_with_room(traces, SCREEN - beside - 1)
    trees = [
        list(tree_lines(trace, sheet_for(trace, console.width, console.encoding), depth, fold, columns, only))
        for trace in shown
    ]
    rooms = _rooms([len(lines) for lines in trees], SCREEN - beside - 1 - len(shown))
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
    lines = list(tree_lines(trace, sheet_for(trace, console.width, console.encoding), None, True))
    what = "the call that raised"
    if trace.backward_errors:
        what = "a call whose backward raises as the program's did, with new inputs"
    elif trace.run.replay:
        what += ", run once more to be seen"
    title: Line = [(f"fwdtrace: {what}", "")]
    print_lines([title, [], *(lines if len(lines) <= ROOM_FOR_CRASH else _middle_cut(lines, ROOM_FOR_CRASH))], console)


def event_lines(events: Sequence[Trace], with_findings: bool) -> list[str]:
    """What happened in each of these calls, what was found if nobody shows it, and the steps before."""
    lines = []
    for trace in events:
        run = trace.run
        class_name = cut(trace.model.class_name.rpartition(".")[2], MOST_LETTERS)
        held = f" ({trace.model.name})" if trace.model.name else ""
        step = f", step {run.step:,}" if run.step is not None else ""
        call = f"call {run.call or 1:,} of {class_name}{held}{step}"
        lines.append(f"{EVENTS[run.event or '']}: {call}; {replay_text(run)}")
        for finding in trace.findings if with_findings else ():
            if finding.code == "FT005":
                place = f" {finding.site.file.rpartition('/')[2]}:{finding.site.line}" if finding.site else ""
                lines.append(f"{finding.code}{place}: {finding.message}")
        lines += steps_lines(run) if with_findings else []
    return [printable(line) for line in lines]


def print_event(
    trace: Trace, console: Console, *, depth: int | None, fold: bool, columns: Sequence[str], only: Sequence[str]
) -> None:
    """Print the call in which something happened, on one screen unless a depth is given or `fold` is false."""
    lines = list(tree_lines(trace, sheet_for(trace, console.width, console.encoding), depth, fold, columns, only))
    everything = depth is not None or not fold
    print_lines(lines if everything or len(lines) <= SCREEN else _middle_cut(lines, SCREEN), console)


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


def _middle_cut(lines: list[Line], room: int) -> list[Line]:
    """The first and the last lines, the last ones being those that say most."""
    first = room // 4
    last = room - first - 1
    note: Line = [(f"… {len(lines) - first - last} lines", "dim")]
    return [*lines[:first], note, *lines[len(lines) - last :]]


def _model_line(group: list[Model], twice: set[str]) -> str:
    """The line for models that ran alike; of classes that are there `twice` it says how each came to be."""
    called, traces = group[0]
    class_name = cut(called.class_name.rpartition(".")[2], MOST_LETTERS)
    name = f"{class_name} of {called.wraps}" if called.wraps else class_name
    bare = called.class_name.rpartition(".")[2]
    whys = [each.origin if (each.wraps or bare) in twice else None for each, _ in group]
    known = [(each.path or each.name, why) for (each, _), why in zip(group, whys, strict=True)]
    names = list(dict.fromkeys(", ".join(filter(None, each)) for each in known if any(each)))
    held = f" ({listed(names)})" if names else ""
    times = f" {multiplied(len(group))}" if len(group) > 1 else ""
    calls = _all_calls_text(called, traces)
    return printable(f"{name}{held}{times}: {'each ' if times else ''}{calls}")


def _all_calls_text(called: Called, traces: list[Trace]) -> str:
    return " and ".join(_calls_text(called, alike) for alike in _alike(traces, _look))


def _calls_text(called: Called, traces: list[Trace]) -> str:
    """Which calls these are of how many, and in which mode: `call 61 of 1,204, the first of 60 in evaluation`."""
    first = traces[0]
    numbers = [trace.run.call or 1 for trace in traces]
    paths = {call.path for call in first.children()}
    modes = next((modes for (path, _), modes in called.ways.items() if path in paths), {})
    total = sum(modes.values())
    more = "" if called.counted else " or more"
    mode = _mode(first)
    if total == 1 and called.counted:
        return f"called once, in {mode}"
    text = f"call{'s' if len(numbers) > 1 else ''} {span(numbers)} of {total:,}{more}"
    if len(numbers) > 1:
        text += ", alike"
    in_mode = modes.get(mode, 0)
    if in_mode == total:
        return f"{text}, all in {mode}"
    if not in_mode:
        return text
    return f"{text}, the first of {in_mode:,} in {mode}" if called.counted else f"{text}, in {mode}"


def _mode(trace: Trace) -> Mode:
    if not trace.model.training:
        return "evaluation"
    return "training with gradients" if trace.run.grad else "training without gradients"


def _looks(model: Model) -> Any:
    called, traces = model
    return called.class_name, called.wraps, _all_calls_text(called, traces), [_look(trace) for trace in traces]


def _look(trace: Trace) -> Any:
    """What is equal in traces that look alike: what ran with which shapes, and what was found."""
    return (
        trace.model.class_name,
        [
            (event.path, event.class_name, event.entry) if isinstance(event, Call) else (event.name,)
            for event in trace.events
        ],
        [(shapes_text(event.inputs), shapes_text(event.outputs)) for event in trace.events],
        [(finding.code, finding.message) for finding in trace.findings],
    )


def _alike(items: Iterable[Any], look: Any) -> list[list[Any]]:
    """The items in groups of those that look alike, in order of their first."""
    groups: list[tuple[Any, list[Any]]] = []
    for item in items:
        seen = look(item)
        group = next((group for other, group in groups if other == seen), None)
        if group is None:
            groups.append((seen, [item]))
        else:
            group.append(item)
    return [group for _, group in groups]
