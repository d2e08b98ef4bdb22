"""Trace -> a timeline in the Trace Event Format that Perfetto, chrome://tracing and speedscope open.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fwdtrace.render import calls, shapes, summary
from fwdtrace.render.sheet import Sheet, sheet_for
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Op, Trace
from fwdtrace.trace.text import error_text

MOST_MAKERS = 16
"""Of the calls that an op has its data from, at most the last so many; a long sum has all that came before."""

PLACEMENT = "order, nesting and durations are measured; a call is drawn to begin where the one before it ends"


def timeline_text(trace: Trace) -> str:
    """The trace as one JSON document: a slice for every call, a mark for every op; times in microseconds.

    A process is a rank, a thread is a thread. A call whose time was not measured is as long as what it called. Where
    sources are known, arrows lead from the calls that gave data to those that got it, also by way of ops.
    """
    encode = json.JSONEncoder(allow_nan=False).encode
    clock = summary.clock(trace)
    events = ",\n".join(map(encode, _events(trace)))
    facts = {"fwdtrace": trace.versions.fwdtrace, "torch": trace.versions.torch, "placement": PLACEMENT}
    facts |= {"durations": clock} if clock else {}
    return f'{{"displayTimeUnit": "ms",\n"otherData": {encode(facts)},\n"traceEvents": [\n{events}\n]}}'


def _events(trace: Trace) -> Iterator[dict[str, Any]]:
    process = trace.run.rank or 0
    threads: dict[str | None, int] = {None: 0}
    for call in trace.calls:
        threads.setdefault(call.thread, len(threads))
    rank = "" if trace.run.rank is None else f" rank {trace.run.rank}"
    yield _name("process_name", process, 0, f"{summary.title(trace)}{rank} (order and durations, not begins)")
    for thread, number in threads.items():
        yield _name("thread_name", process, number, printable(thread) if thread else "forward")
    sheet = sheet_for(trace)
    places = _places(trace)
    for event in trace.events:
        begin, length, thread = places[event.id]
        shown: dict[str, Any] = {"name": _title(event), "ts": begin, "pid": process, "tid": threads[thread]}
        if isinstance(event, Call):
            category = "error" if event.error else "direct" if event.entry == "forward" else "call"
            yield {**shown, "ph": "X", "dur": length, "cat": category, "args": _arguments(event, sheet)}
        else:
            yield {**shown, "ph": "i", "s": "t", "cat": "op", "args": _arguments(event, sheet)}
    for number, (maker, user) in enumerate(_ways_of_data(trace), 1):
        for phase, id in (("s", maker), ("f", user)):
            begin, length, thread = places[id]
            middle = begin + length / 2  # an arrow belongs to the slice that is open then: at an end it may be the next
            arrow = {"name": "data", "cat": "data", "ph": phase, "id": number, "ts": middle, "pid": process}
            yield {**arrow, "tid": threads[thread], **({"bp": "e"} if phase == "f" else {})}


def _ways_of_data(trace: Trace) -> Iterator[tuple[int, int]]:
    """The ids of a call that gave data and of the innermost call that got it, itself or what ops made of it."""
    behind: dict[int, tuple[int, ...]] = {}
    for event in trace.events:
        producers = trace.flow.producers(event)
        makers = tuple(dict.fromkeys(id for producer in producers for id in behind.get(producer.id, (producer.id,))))
        if isinstance(event, Op):
            behind[event.id] = makers[-MOST_MAKERS:]
        elif not trace.made_by(event):  # what is inside a call was given the same tensors as the call
            yield from ((maker, event.id) for maker in makers)


def _name(what: str, process: int, thread: int, text: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "ts": 0, "pid": process, "tid": thread, "args": {"name": text}}


def _places(trace: Trace) -> dict[int, tuple[float, float, str | None]]:
    """When each call and op begins, how long it is, and its thread; those of one caller follow one another."""
    lengths: dict[int | None, float] = {}
    below: dict[int | None, float] = {}
    for call in reversed(trace.calls):  # what a call made began after it
        length = call.duration_us if call.duration_us is not None else below.get(call.id, 0.0)
        lengths[call.id] = length
        below[call.parent] = below.get(call.parent, 0.0) + length
    places: dict[int, tuple[float, float, str | None]] = {}
    free: dict[tuple[int | None, str | None], float] = {}
    ends: dict[int | None, float] = {}
    for event in trace.events:
        above = places.get(event.parent) if event.parent is not None else None
        thread = event.thread if isinstance(event, Call) else above[2] if above else None
        begin = free.get((event.parent, thread), above[0] if above else 0.0)
        end = begin + lengths.get(event.id, 0.0)
        if above and above[2] == thread:  # so that nothing reaches beyond its caller
            begin, end = min(begin, ends[event.parent]), min(end, ends[event.parent])
        places[event.id] = (begin, end - begin, thread)
        ends[event.id] = free[event.parent, thread] = end
    return places


def _title(event: Event) -> str:
    if isinstance(event, Op):
        return printable(event.name)
    return printable(f"{event.path} {event.class_name}" if event.path else event.class_name)


def _arguments(event: Event, sheet: Sheet) -> dict[str, Any]:
    """What a viewer shows of a slice that is selected."""
    facts: dict[str, Any] = {"input": shapes.inputs(event, sheet).whole, "output": shapes.outputs(event, sheet).whole}
    if event.site:
        site = event.site
        facts |= {"from": f"{printable(site.file)}:{site.line}", "code": printable(site.code)}
    if event.error:
        facts["error"] = printable(error_text(event.error))
    if isinstance(event, Op):
        return facts
    facts |= {"called": calls.entry(event), "nth": event.nth, "parameters": event.parameters}
    if event.duration_us is not None:
        facts["duration_us"] = event.duration_us
    if event.host_us is not None:
        facts["host_us"] = event.host_us
    if event.memory_bytes is not None:
        facts["memory_bytes"] = event.memory_bytes
    if event.flops is not None:
        facts["flops"] = event.flops
    if event.backward:
        facts["backward_us"] = event.backward.duration_us
    if marks := calls.marks(event):
        facts["notes"] = " · ".join(marks)
    return facts
