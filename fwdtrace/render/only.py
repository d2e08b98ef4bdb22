"""The part of a trace that a person asked to see: the calls and ops that a pattern matches, with their callers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from fwdtrace.render.fold import Amount
from fwdtrace.render.marks import marks_of, to_tell_of
from fwdtrace.trace import Call, Event, Op, Trace


def only(trace: Trace, patterns: Sequence[str]) -> tuple[Trace, Amount]:
    """The trace with what one of the patterns matches, and how much is left out; without patterns all of it.

    A pattern is a glob, `layers.*.attn` or `Conv?d`, that matches a path, what follows a dot in it, the class of a
    module or the name of an op.
    """
    if not patterns:
        return trace, Amount(0, 0)
    kept: set[int] = set()
    for event in trace.events:
        if matches(event, patterns):
            kept.add(event.id)
            kept.update(caller.id for caller in trace.callers(event))
    marks = marks_of(trace)
    left = [event for event in trace.events if event.id not in kept]
    calls = sum(isinstance(event, Call) for event in left)
    rest = Amount(calls, len(left) - calls, Counter(mark for event in left for mark in to_tell_of(event, marks)))
    part = replace(
        trace,
        calls=tuple(call for call in trace.calls if call.id in kept),
        ops=None if trace.ops is None else tuple(op for op in trace.ops if op.id in kept),
        findings=tuple(finding for finding in trace.findings if finding.call is None or finding.call in kept),
    )
    return part, rest


def matches(event: Event, patterns: Sequence[str]) -> bool:
    """Whether a pattern is, or matches, the end of a path, the class of the module of a call, or the name of an op."""
    if isinstance(event, Op):
        return any(event.name == pattern or fnmatchcase(event.name, pattern) for pattern in patterns)
    paths = (event.path or "", *event.aliases)
    return any(
        fnmatchcase(event.class_name, pattern)
        or any(fnmatchcase(path, pattern) or fnmatchcase(path, f"*.{pattern}") for path in paths)
        for pattern in patterns
    )
