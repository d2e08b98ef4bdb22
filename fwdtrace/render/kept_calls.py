"""Lines that say which calls of a program were kept, of which models, and what happened in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from fwdtrace.render.happened import EVENTS, magnitude_lines, replay_text, span, steps_lines
from fwdtrace.render.words import cut, printable
from fwdtrace.trace import Call, Trace
from fwdtrace.trace.called import Called, Caught, Mode
from fwdtrace.trace.text import file_and_line, listed, multiplied, plural, shapes_text, site_text

MOST_LISTED = 12
MOST_LETTERS = 50
MOST_CAUGHT = 3
MOST_OF_MESSAGE = 200
WIDTH = 70
"""The cells of a line, without the name of the command that stands in front of it."""

Model = tuple[Called, list[Trace]]
"""A model of a program, and the traces of its calls that were kept."""


def model_lines(models: Sequence[Model], by_number: bool = False) -> list[str]:
    """A line for each model, models that ran alike in one: how often it was called, and which calls were kept.

    Calls that were not chosen `by_number`, as by --call and --every, are the first in their mode.
    """
    texts = {id(traces): _all_calls_text(called, traces, by_number) for called, traces in models}

    def looks(model: Model) -> Any:
        called, traces = model
        said = called.class_name, called.wraps, called.in_backward, texts[id(traces)]
        return said, [look(trace) for trace in traces]

    groups = [group for group in alike(models, looks) if group[0][1]]
    kinds = Counter(called.wraps or called.class_name.rpartition(".")[2] for called, _ in models)
    twice = {kind for kind, count in kinds.items() if count > 1}
    lines = [_model_line(group, twice, texts[id(group[0][1])]) for group in groups[:MOST_LISTED]]
    if len(groups) > MOST_LISTED:
        lines.append(f"{plural(len(groups) - MOST_LISTED, 'more model')}")
    return lines


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
                place = f" {site_text(finding.site)}" if finding.site else ""
                lines.append(f"{finding.code}{place}: {finding.message}")
        lines += [*steps_lines(run), *magnitude_lines(trace, WIDTH)] if with_findings else []
    return [printable(line) for line in lines]


def event_lines_of_ranks(events: Sequence[Trace]) -> list[str]:
    """What happened in each of these calls of other ranks."""
    return [f"rank {trace.run.rank}: {line}" for trace in events for line in event_lines([trace], True)]


def caught_lines(errors: Sequence[Caught]) -> list[str]:
    """For each error that did not end the program, the call that raised it, and what was wrong if that is known."""
    lines = []
    for each in errors[:MOST_CAUGHT]:
        call = f"call {each.call:,} of " if each.call is not None else "a call of "
        model = f"{cut(each.class_name, MOST_LETTERS)}{f' ({each.name})' if each.name else ''}"
        place = file_and_line(each.file, each.line) if each.file else ""
        found = each.trace.findings if each.trace is not None else ()
        at = f"{f' in {each.layer}' if each.layer and not found else ''}{f' at {place}' if place else ''}"
        again = f", {each.count:,} times in all" if each.count > 1 else ""
        text = f": {cut(each.text, MOST_OF_MESSAGE)}" if each.text else ""
        lines.append(f"{call}{model} raised {each.error}{at}, and the program went on{again}{text}")
        lines += [f"{finding.code}{f' {place}' if place else ''}: {finding.message}" for finding in found]
    if len(errors) > MOST_CAUGHT:
        lines.append(f"{plural(len(errors) - MOST_CAUGHT, 'more error')} of calls that did not end the program")
    return [printable(line) for line in lines]


def how_to_record_backward(models: Sequence[Called]) -> str:
    """What to run after a backward that raised, for a backward that was not recorded: the last call of one model."""
    counts = [sum(sum(modes.values()) for modes in each.ways.values()) for each in models]
    number = counts[0] if len(counts) == 1 and models[0].counted else "N"
    says = f"backward raised; exec --backward --call {number} records call {number} until an optimizer steps"
    return f"{says}: if backward raises by then, it names the op that wrote or the graph that was used twice"


def _model_line(group: list[Model], twice: set[str], calls: str) -> str:
    """The line for models of which the same calls ran alike; of classes that are there `twice`, how each came to be."""
    called, _ = group[0]
    class_name = cut(called.class_name.rpartition(".")[2], MOST_LETTERS)
    name = f"{class_name} of {called.wraps}" if called.wraps else class_name
    bare = called.class_name.rpartition(".")[2]
    whys = [each.origin if (each.wraps or bare) in twice else None for each, _ in group]
    known = [(each.path or each.name, why) for (each, _), why in zip(group, whys, strict=True)]
    names = list(dict.fromkeys(", ".join(filter(None, each)) for each in known if any(each)))
    held = f" ({listed(names)})" if names else ""
    times = f" {multiplied(len(group))}" if len(group) > 1 else ""
    again = f", and {called.in_backward:,} more inside backward" if called.in_backward else ""
    return printable(f"{name}{held}{times}: {'each ' if times else ''}{calls}{again}")


def _all_calls_text(called: Called, traces: list[Trace], by_number: bool) -> str:
    groups = alike(traces, lambda trace: (_mode(trace), look(trace)))
    return "; ".join(_calls_text(called, group, by_number) for group in groups)


def _calls_text(called: Called, traces: list[Trace], by_number: bool) -> str:
    """Which calls these are of how many, and in which mode: `call 61 of 1,204, the first of 60 in evaluation`."""
    first = traces[0]
    numbers = [trace.run.call or 1 for trace in traces]
    paths = {call.path for call in first.children()}
    ways = [modes for (path, _), modes in called.ways.items() if path in paths]
    modes = next(iter(ways or called.ways.values()), {})  # an own `__call__` may call parts of the model alone
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
    if not called.counted:
        return f"{text}, in {mode}"
    if in_mode == 1:
        return f"{text}, the only one in {mode}"
    is_first = not by_number and first.run.event is None
    which = "the first" if is_first else "one" if len(numbers) == 1 else f"{len(numbers):,}"
    return f"{text}, {which} of {in_mode:,} in {mode}"


def _mode(trace: Trace) -> Mode:
    if not trace.model.training:
        return "evaluation"
    return "training with gradients" if trace.run.grad else "training without gradients"


def look(trace: Trace) -> Any:
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


def alike(items: Iterable[Any], look: Any) -> list[list[Any]]:
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
