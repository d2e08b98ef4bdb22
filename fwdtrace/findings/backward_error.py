"""FT011: backward raised, since what it had saved was written into, or since its graph was used twice."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.domains import step_name
from fwdtrace.findings.flow import requires_gradient
from fwdtrace.trace import BackwardError, Call, Event, Finding, Site, Trace, tensors_in
from fwdtrace.trace.text import line_in_brackets, listed, name_of, path_text, with_nth


def backward_error(trace: Trace) -> Iterator[Finding]:
    """FT011: one finding for each exception that backward raised."""
    if not trace.backward_errors or any(call.error for call in trace.calls):
        return  # a forward that raised, when backward ran it again, is reported as such
    by_id = {event.id: event for event in trace.events}
    for error in trace.backward_errors:
        if was_refused(trace, error):
            continue  # FT008 says why
        event = by_id.get(error.event) if error.event is not None else None
        writers = [by_id[id] for id in error.writers]
        if error.saved is not None or writers or error.state is not None:
            message, place = _written(trace, error, event, writers), writers[0] if writers else event
        elif error.freed:
            message, place = _used_twice(trace, error, event, by_id), event
        else:
            message, place = _raised(trace, error, event), event
        yield Finding("FT011", "backward-error", _call(place), message, _site(place))


def was_refused(trace: Trace, error: BackwardError) -> bool:
    """Whether there was nothing to run backward from, as nothing that the model gave requires a gradient."""
    refused = error.message.startswith("element 0 of tensors does not require grad")
    return refused and not any(requires_gradient(call.outputs) for call in trace.children())


def _written(trace: Trace, error: BackwardError, event: Event | None, writers: list[Event]) -> str:
    subject = _named(trace, event)
    if error.state is not None:
        what = f"{error.state}, which the backward of {subject} needs as it was"
    elif error.saved in ("result", "output"):
        what = f"the output of {subject}, which the backward of {_name(event)} needs as it was"
    elif event is not None and (source := _written_input(trace, event, writers)) is not None:
        what = f"the output of {_named(trace, source)}, which the backward of {subject} needs as it was"
    else:
        what = f"what the backward of {subject} needs as it was"
    if not writers:
        return f"something that was not observed, as outside of the model, wrote into {what}"
    names = [f"{_named(trace, writer, with_line=len(writers) > 1)}" for writer in writers]
    return f"{listed(names)} wrote into {what}"


def _written_input(trace: Trace, event: Event, writers: list[Event]) -> Event | None:
    """What made the input of the event that one of the writers was given too."""
    given = {leaf.source: leaf for leaf in tensors_in(event.inputs) if leaf.source is not None}
    for writer in writers:
        for leaf in tensors_in(writer.inputs):
            if leaf.source in given:
                return trace.flow.producer(given[leaf.source])
    return None


def _used_twice(trace: Trace, error: BackwardError, event: Event | None, by_id: dict[int, Event]) -> str:
    if event is None:
        return "backward came a second time to what follows the model, the loss, whose graph an earlier backward freed"
    message = f"backward came a second time to {_named(trace, event)}, whose graph an earlier backward freed"
    through = by_id.get(error.came_through) if error.came_through is not None else None
    before, after = _root(trace, event), _root(trace, through) if through is not None else None
    if after is None or after is before:
        return f"{message}: both began at what came out of {_root_name(before)}"
    carried, giver = _carried(trace, before, after), _root_name(before)
    if carried:
        came = f"it came back through `{carried}` of {_root_name(after)}, which {giver} gave with its graph"
        return f"{message}: {came}; pass `{carried}.detach()` in its place (not tried)"
    return f"{message}: it came back through what {_root_name(after)} was given or had kept, with the graph of {giver}"


def _carried(trace: Trace, before: Call, after: Call) -> str:
    """The argument of a later call that came out of an earlier one."""
    last = trace.end(before)
    for leaf in tensors_in(after.inputs):
        maker = trace.flow.producer(leaf)
        if leaf.requires_grad and maker is not None and before.id <= maker.id <= last:
            return leaf.name
    return ""


def _raised(trace: Trace, error: BackwardError, event: Event | None) -> str:
    first = error.message.partition("\n")[0]
    what = f"{error.type}: {first}" if error.type and first else error.type or first or "an exception, which was caught"
    if event is None:
        return f"backward raised {what}"
    node = error.node or ""
    step = step_name(node)
    inside = f"{step} in " if trace.made_by(event) and step else ""  # a step that is of no op of its own
    return f"the backward of {inside}{_named(trace, event)} raised {what}"


def _root(trace: Trace, event: Event) -> Call:
    outermost = event if isinstance(event, Call) else None
    for outermost in trace.callers(event):  # noqa: B007  (the last one is the outermost)
        pass
    assert outermost is not None
    return outermost


def _root_name(call: Call) -> str:
    return with_nth(path_text(call.path) if call.path is not None else call.class_name, call.nth)


def _name(event: Event | None) -> str:
    return name_of(event) if event is not None else "a step"


def _named(trace: Trace, event: Event | None, with_line: bool = True) -> str:
    """An op or a module with where it is: `torch.sigmoid in 1 (line 11)`."""
    if event is None:
        return "what follows the model"
    line = line_in_brackets(event) if with_line else ""
    if isinstance(event, Call):
        return f"{with_nth(name_of(event), event.nth)}{line}"
    caller = trace.caller(event)
    return f"{event.name}{f' in {name_of(caller)}' if caller is not None else ''}{line}"


def _call(event: Event | None) -> int | None:
    return None if event is None else event.id if isinstance(event, Call) else event.parent


def _site(event: Event | None) -> Site | None:
    return event.site if event is not None else None
