"""Two aligned traces -> each Difference: other numbers, other structure, other exceptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdtrace.compare.agreement import ComparedCalls
from fwdtrace.compare.align import Alignment, Pair
from fwdtrace.compare.difference import Difference, Severity
from fwdtrace.compare.leaves import dtypes_of, other_values, outputs_begin_alike, tensors_in_words
from fwdtrace.trace import Call, Trace
from fwdtrace.trace.text import path_text, shapes_text


def differences_in_numbers(compared: Sequence[ComparedCalls]) -> Iterator[Difference]:
    """The calls whose outputs do not agree and are known to be apart."""
    for pair in compared:
        if pair.outputs_agree or pair.apart is None or pair.apart.same:
            continue
        severity: Severity = "rounding" if pair.apart.close else "numbers"
        message = f"{path_text(pair.call.path)} gives other numbers, {pair.apart.text}"
        one, two = tensors_in_words(pair.call.outputs), tensors_in_words(pair.other.outputs)
        yield _difference("output", severity, pair.call, one, two, message)


def differences_in_exceptions(alignment: Alignment) -> Iterator[Difference]:
    """The calls that raised on one side only, or raised something else."""
    for call, other in alignment.pairs:
        one, two = (ended.error.type if ended.error else "none" for ended in (call, other))
        if one != two:
            message = f"{path_text(call.path)} raised {one} in the first and {two} in the second"
            yield _difference("exception", "exception", call, one, two, message)


def differences_in_structure(before: Trace, after: Trace, alignment: Alignment) -> Iterator[Difference]:
    """Calls that only one side makes, calls of other traits, ops and order."""
    yield from _on_one_side(alignment.only_before, "missing", "first")
    yield from _on_one_side(alignment.only_after, "added", "second")
    ops, other_ops = _op_names(before), _op_names(after)
    latest = -1
    for call, other in alignment.pairs:
        for kind, severity, one, two in _traits(call, other):
            if one != two:
                yield _difference(kind, severity, call, one, two, f"{path_text(call.path)}: {kind} {one} became {two}")
        if ops is not None and other_ops is not None and ops.get(call.id) != other_ops.get(other.id):
            one = ", ".join(ops.get(call.id, ())) or "none"
            two = ", ".join(other_ops.get(other.id, ())) or "none"
            yield _difference("ops", "structure", call, one, two, f"{path_text(call.path)}: ops {one} became {two}")
        if other.id < latest:
            yield _difference("order", "structure", call, "", "", f"{path_text(call.path)} runs earlier in the second")
        latest = max(latest, other.id)


def differences_in_results(alignment: Alignment) -> Iterator[Difference]:
    """What two models themselves give in other shapes: all that is compared of a port, whose inside may be other."""
    for call, other in ended_roots(alignment):
        if not outputs_begin_alike(call, other):
            one, two = shapes_text(call.outputs), shapes_text(other.outputs)
            yield _difference("shape", "structure", call, one, two, f"{path_text(call.path)}: shape {one} became {two}")


def ended_roots(alignment: Alignment) -> Iterator[Pair]:
    """The calls of the models themselves that ended without an exception on both sides."""
    for call, other in alignment.pairs:
        if call.parent is None and other.parent is None and not call.error and not other.error:
            yield call, other


def _on_one_side(calls: Sequence[Call], kind: str, side: str) -> Iterator[Difference]:
    """The outermost of the calls that only the first or the second trace has."""
    alone = {call.id for call in calls}
    for call in calls:
        if call.parent not in alone:
            one, two = (call.class_name, "none") if side == "first" else ("none", call.class_name)
            message = f"{path_text(call.path)} ({call.class_name}) runs in the {side} only"
            yield _difference(kind, "structure", call, one, two, message)


def _traits(call: Call, other: Call) -> Iterator[tuple[str, Severity, str, str]]:
    """What two calls are compared by besides their numbers: the kind of difference, its severity, and both sides."""
    yield "name", "observation", path_text(call.path), path_text(other.path)
    yield "class", "structure", call.class_name, other.class_name
    yield "parameters", "structure", f"{call.parameters:,}", f"{other.parameters:,}"
    if not call.error and not other.error:
        yield "shape", "structure", shapes_text(call.outputs), shapes_text(other.outputs)
        yield "dtype", "structure", ", ".join(dtypes_of(call.outputs)), ", ".join(dtypes_of(other.outputs))
    yield "input shape", "structure", shapes_text(call.inputs), shapes_text(other.inputs)
    one, two = (", ".join(other_values(leaves)) or "none" for leaves in (call.inputs, other.inputs))
    yield "argument", "structure", one, two
    yield "entry", "observation", call.entry, other.entry
    yield "hooks", "observation", _hooks(call), _hooks(other)


def _op_names(trace: Trace) -> dict[int, list[str]] | None:
    """The names of the ops that each call ran itself, by the id of the call; None if ops were not recorded."""
    if trace.ops is None:
        return None
    names: dict[int, list[str]] = {}
    for op in trace.ops:
        if op.parent is not None:
            names.setdefault(op.parent, []).append(op.name)
    return names


def _hooks(call: Call) -> str:
    return ", ".join(f"{hook.kind} {hook.name}{'' if hook.fired else ' (not run)'}" for hook in call.hooks) or "none"


def _difference(kind: str, severity: Severity, call: Call, before: str, after: str, message: str) -> Difference:
    return Difference(kind, severity, call.path or "", before, after, message, call.nth)
