"""Which rows of a trace a person must not overlook: those that findings are about, and those without gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fwdtrace.trace import Call, Event, Finding, Op, Trace

MARKED = ("FT005", "FT008", "FT011")
"""The findings that are about one row which does not look special by itself, as one that raised does."""

DIRECT = "direct"
RAISED = "raised"
NO_GRADIENT = "no gradient"

Marks = Mapping[int, tuple[str, ...]]
"""By the id of a call or op what is marked there."""


def marks_of(trace: Trace) -> Marks:
    """The marks of every row that has any, such as `FT005 non-finite` and `no gradient`."""
    marks: dict[int, dict[str, None]] = {}
    for finding in trace.findings:
        if finding.code in MARKED and finding.call is not None:
            event = _row_of(trace, finding, trace.call(finding.call))
            marks.setdefault(event.id, {})[f"{finding.code} {finding.name}"] = None
    for path in _without_gradient(trace):
        for call in trace.at(path):
            marks.setdefault(call.id, {NO_GRADIENT: None})
    return {id: tuple(texts) for id, texts in marks.items()}


def to_tell_of(event: Event, marks: Marks) -> Iterable[str]:
    """What must be said of a row where it is not shown: its marks, and whether it raised or was run directly."""
    if isinstance(event, Call) and event.entry == "forward":
        yield DIRECT
    if event.error is not None and not event.error.raised_below:
        yield RAISED
    yield from marks.get(event.id, ())


def _row_of(trace: Trace, finding: Finding, call: Call) -> Event:
    """The op of the call that a finding about numbers is about, or else the call."""
    if finding.code != "FT005" or (finding.site == call.site and call.nonfinite is not None):
        return call
    spoiled = (op for op in trace.made_by(call) if isinstance(op, Op) and op.nonfinite and op.site == finding.site)
    return min(spoiled, key=lambda op: not (op.nonfinite and op.nonfinite.inputs_finite), default=call)


def _without_gradient(trace: Trace) -> list[str]:
    """The modules of which no own parameter that wants a gradient got one, where others of the model did."""
    wanted: Counter[str] = Counter()
    arrived: Counter[str] = Counter()
    for gradient in trace.gradients or ():
        module = gradient.name.rpartition(".")[0]
        wanted[module] += gradient.requires_grad
        arrived[module] += gradient.norm is not None
    if not any(arrived.values()):
        return []
    return [module for module, number in wanted.items() if number and not arrived[module]]
