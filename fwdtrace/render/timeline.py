"""Trace -> a timeline in the Trace Event Format that Perfetto, chrome://tracing and speedscope open.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fwdtrace.render import shapes, summary, words
from fwdtrace.render.shapes import Usual, usual
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Op, Trace

PLACEMENT = "order, nesting and durations are measured; a call is drawn to begin where the one before it ends"


def timeline_text(trace: Trace) -> str:
    """The trace as one JSON document: a slice for every call, a mark for every op; times in microseconds.

    A process is a rank, a thread is a thread. A call whose time was not measured is as long as what it called.
    """
    encode = json.JSONEncoder(allow_nan=False).encode
    events = ",\n".join(map(encode, _events(trace)))
    facts = {"fwdtrace": trace.versions.fwdtrace, "torch": trace.versions.torch, "placement": PLACEMENT}
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
    known = usual(trace)
    places = _places(trace)
    for node in summary.in_order(trace):
        begin, length, thread = places[node.id]
        event: dict[str, Any] = {"name": _title(node), "ts": begin, "pid": process, "tid": threads[thread]}
        if isinstance(node, Call):
            category = "error" if node.error else "direct" if node.entry == "forward" else "call"
            yield {**event, "ph": "X", "dur": length, "cat": category, "args": _arguments(node, known)}
        else:
            yield {**event, "ph": "i", "s": "t", "cat": "op", "args": _arguments(node, known)}


def _name(what: str, process: int, thread: int, text: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "ts": 0, "pid": process, "tid": thread, "args": {"name": text}}


def _places(trace: Trace) -> dict[int, tuple[float, float, str | None]]:
    """When each call and op begins, how long it is and in which thread: one after the other inside its caller."""
    lengths: dict[int | None, float] = {}
    below: dict[int | None, float] = {}
    for call in reversed(trace.calls):  # what a call made began after it
        length = call.duration_us if call.duration_us is not None else below.get(call.id, 0.0)
        lengths[call.id] = length
        below[call.parent] = below.get(call.parent, 0.0) + length
    places: dict[int, tuple[float, float, str | None]] = {}
    free: dict[tuple[int | None, str | None], float] = {}
    ends: dict[int | None, float] = {}
    for node in summary.in_order(trace):
        above = places.get(node.parent) if node.parent is not None else None
        thread = node.thread if isinstance(node, Call) else above[2] if above else None
        begin = free.get((node.parent, thread), above[0] if above else 0.0)
        end = begin + lengths.get(node.id, 0.0)
        if above and above[2] == thread:  # so that nothing reaches beyond its caller
            begin, end = min(begin, ends[node.parent]), min(end, ends[node.parent])
        places[node.id] = (begin, end - begin, thread)
        ends[node.id] = free[node.parent, thread] = end
    return places


def _title(node: Call | Op) -> str:
    if isinstance(node, Op):
        return printable(node.name)
    return printable(f"{node.path} {node.class_name}" if node.path else node.class_name)


def _arguments(node: Call | Op, known: Usual) -> dict[str, Any]:
    """What a viewer shows of a selected slice."""
    found: dict[str, Any] = {"input": shapes.inputs(node, known).whole, "output": shapes.outputs(node, known).whole}
    if node.site:
        site = node.site
        found |= {"from": f"{printable(site.file)}:{site.line}", "code": printable(site.code)}
    if node.error:
        found["error"] = printable(f"{node.error.type}: {node.error.message}")
    if isinstance(node, Op):
        return found
    found |= {"called": words.entry(node), "nth": node.nth, "parameters": node.parameters}
    if node.duration_us is not None:
        found["duration_us"] = node.duration_us
    if node.flops is not None:
        found["flops"] = node.flops
    if node.backward:
        found["backward_us"] = node.backward.duration_us
    if marks := words.marks(node):
        found["notes"] = " · ".join(marks)
    return found
