"""Two Traces -> Comparison: what is not the same, led by the first call whose inputs agree and whose output does not.

Structure is compared by the traces alone; numbers by what was kept of them, or by statistics if the traces have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwdtrace.compare.align import Alignment, align, give_alike, shapes_in_words, shapes_of
from fwdtrace.compare.comparison import SEVERITIES, Apart, Comparison, Difference, Origin, Severity
from fwdtrace.compare.origin import Judged, growth_from, origin_of, parting_within, when_inputs_are_unknown
from fwdtrace.compare.tolerances import apart_by_stats, in_words
from fwdtrace.trace import Call, Leaf, TensorMeta, Trace, Value

Measure = Callable[[Call, Call, Literal["inputs", "outputs"]], Apart | None]
"""How far two calls are apart on one side; None if that is not known."""

SIDES = ("first", "second")


@dataclass(frozen=True)
class How:
    """How two traces are compared.

    `maps` are names, `A.{i}.x=B.{i}.y`; `expected` the kinds of difference that are no news; `exact` whether what
    is within the tolerance but not bit-identical counts as a difference: None is where nothing explains it.
    """

    maps: tuple[str, ...] = ()
    expected: frozenset[str] = frozenset()
    exact: bool | None = None
    notes: tuple[str, ...] = ()
    why: Callable[[Call, Call], Iterable[str]] | None = None


def compare_traces(before: Trace, after: Trace, how: How | None = None, measure: Measure | None = None) -> Comparison:
    """Compare two traces; `measure` tells how far the numbers of two calls are apart."""
    how = how or How()
    found = align(before, after, how.maps)
    exact = how.exact if how.exact is not None else _is_exact(before, after, found)
    judged = [_judged(call, other, exact, found.is_port, how.expected, measure) for call, other in found.pairs]
    has_numbers = any(each.apart is not None for each in judged)
    judged = when_inputs_are_unknown(before, judged)
    structure = list((_results if found.is_port and has_numbers else _structure)(before, after, found))
    structure += [*_exceptions(found)]
    differences = [each for each in [*_numbers(judged), *structure] if each.kind not in how.expected]
    origin = origin_of(before, after, judged, found) if differences else None
    if origin is not None and how.why is not None:
        origin = _with_why(origin, judged, how.why)
    if origin is not None:
        origin = replace(origin, why=(*origin.why, *parting_within(before, after, origin, judged)))
    ordered = tuple(sorted(differences, key=lambda each: list(SEVERITIES).index(each.severity)))
    return Comparison(
        "traces",
        _verdict(ordered, origin, judged, found),
        ordered,
        before.versions,
        before.model,
        origin=origin,
        seed=before.run.seed,
        notes=(*how.notes, *_notes(before, after, found, judged, exact)),
        other=after.model,
        growth=growth_from(before, origin, judged),
        traces=(before, after),
    )


def _is_exact(before: Trace, after: Trace, found: Alignment) -> bool:
    return not found.is_port and before.versions.torch == after.versions.torch and before.run.device == after.run.device


def _judged(
    call: Call, other: Call, exact: bool, is_port: bool, expected: frozenset[str], measure: Measure | None
) -> Judged:
    distance = measure(call, other, "outputs") if measure else _by_stats(call.outputs, other.outputs)
    into = measure(call, other, "inputs") if measure else None
    outputs = _agree(call.outputs, other.outputs, distance, exact, is_port, expected)
    inputs: bool | None = _agree(call.inputs, other.inputs, into, exact, is_port, expected)
    if inputs and into is None and any(isinstance(leaf, TensorMeta) for leaf in call.inputs):
        inputs = None
    return Judged(call, other, inputs, outputs and call.error is None and other.error is None, distance, into)


def _agree(
    one: tuple[Leaf, ...],
    other: tuple[Leaf, ...],
    distance: Apart | None,
    exact: bool,
    is_port: bool,
    expected: frozenset[str],
) -> bool:
    if not is_port and "shape" not in expected and shapes_of(one) != shapes_of(other):
        return False
    if not is_port and "dtype" not in expected and _dtypes(one) != _dtypes(other):
        return False
    if not is_port and _texts(one) != _texts(other):
        return False
    return distance is None or (distance.same if exact else distance.close)


def _by_stats(one: tuple[Leaf, ...], other: tuple[Leaf, ...]) -> Apart | None:
    ours, theirs = ([leaf for leaf in leaves if isinstance(leaf, TensorMeta)] for leaves in (one, other))
    found = [
        apart_by_stats(a.stats, b.stats, (a.dtype, b.dtype))
        for a, b in zip(ours, theirs, strict=False)
        if a.stats and b.stats
    ]
    return min(found, key=lambda each: (each.same, each.close, -(each.absolute or 0.0))) if found else None


def _numbers(judged: Sequence[Judged]) -> Iterator[Difference]:
    for each in judged:
        if each.outputs or each.apart is None or each.apart.same:
            continue
        severity: Severity = "rounding" if each.apart.close else "numbers"
        name = _name(each.call.path)
        message = f"{name} gives other numbers, {distance_in_words(each.apart)}"
        yield _difference("output", severity, each.call, _side(each.call.outputs), _side(each.other.outputs), message)


def distance_in_words(apart: Apart) -> str:
    """A distance as text: `up to 0.01 apart, 3.1% of the largest, 12 ulp`."""
    if apart.absolute is None:
        return "NaN or infinite on one side only"
    relative = f", {apart.relative:.2g} of the largest element" if apart.relative is not None else ""
    return f"up to {apart.absolute:.2g} apart{relative}{f', {apart.ulp_text} ulp' if apart.ulp is not None else ''}"


def _exceptions(found: Alignment) -> Iterator[Difference]:
    for call, other in found.pairs:
        one, two = (each.error.type if each.error else "none" for each in (call, other))
        if one != two:
            message = f"{_name(call.path)} raised {one} in the first and {two} in the second"
            yield _difference("exception", "exception", call, one, two, message)


def _structure(before: Trace, after: Trace, found: Alignment) -> Iterator[Difference]:
    for calls, side in ((found.only_before, 0), (found.only_after, 1)):
        alone = {call.id for call in calls}
        for call in calls:
            if call.parent not in alone:
                message = f"{_name(call.path)} ({call.class_name}) runs in the {SIDES[side]} only"
                texts = (call.class_name, "none") if side == 0 else ("none", call.class_name)
                yield _difference("missing" if side == 0 else "added", "structure", call, *texts, message)
    ours, theirs = _op_names(before), _op_names(after)
    latest = -1
    for call, other in found.pairs:
        for kind, severity, one, two in _traits(call, other):
            if one != two:
                yield _difference(kind, severity, call, one, two, f"{_name(call.path)}: {kind} {one} became {two}")
        if ours is not None and theirs is not None and ours.get(call.id) != theirs.get(other.id):
            one, two = (", ".join(ops.get(id, ())) or "none" for ops, id in ((ours, call.id), (theirs, other.id)))
            yield _difference("ops", "structure", call, one, two, f"{_name(call.path)}: ops {one} became {two}")
        if other.id < latest:
            yield _difference("order", "structure", call, "", "", f"{_name(call.path)} runs earlier in the second")
        latest = max(latest, other.id)


def _results(before: Trace, after: Trace, found: Alignment) -> Iterator[Difference]:
    """Of a port, whose inside may be built otherwise: what the models themselves give."""
    for call, other in _roots(found):
        if not give_alike(call, other):
            one, two = shapes_in_words(call.outputs), shapes_in_words(other.outputs)
            message = f"{_name(call.path)}: shape {one} became {two}"
            yield _difference("shape", "structure", call, one, two, message)


def _roots(found: Alignment) -> Iterator[tuple[Call, Call]]:
    """The calls of the models themselves that ended on both sides."""
    for call, other in found.pairs:
        if call.parent is None and other.parent is None and not call.error and not other.error:
            yield call, other


def _traits(call: Call, other: Call) -> Iterator[tuple[str, Severity, str, str]]:
    yield "name", "observation", _name(call.path), _name(other.path)
    yield "class", "structure", call.class_name, other.class_name
    yield "parameters", "structure", f"{call.parameters:,}", f"{other.parameters:,}"
    if not call.error and not other.error:
        yield "shape", "structure", shapes_in_words(call.outputs), shapes_in_words(other.outputs)
        yield "dtype", "structure", ", ".join(_dtypes(call.outputs)), ", ".join(_dtypes(other.outputs))
    yield "input shape", "structure", shapes_in_words(call.inputs), shapes_in_words(other.inputs)
    yield "argument", "structure", ", ".join(_texts(call.inputs)) or "none", ", ".join(_texts(other.inputs)) or "none"
    yield "entry", "observation", call.entry, other.entry
    yield "hooks", "observation", _hooks(call), _hooks(other)


def _op_names(trace: Trace) -> dict[int, tuple[str, ...]] | None:
    if trace.ops is None:
        return None
    names: dict[int, list[str]] = {}
    for op in trace.ops:
        if op.parent is not None:
            names.setdefault(op.parent, []).append(op.name)
    return {parent: tuple(found) for parent, found in names.items()}


def _verdict(
    differences: Sequence[Difference], origin: Origin | None, judged: Sequence[Judged], found: Alignment
) -> str:
    known = [each.apart for each in judged if each.apart is not None]
    if not differences:
        count = f"{_calls(found.pairs)} on both sides"
        if not known:
            return f"No difference found: {count}, alike in all that was recorded; numbers were not."
        if all(each.same for each in known):
            alone = found.only_before or found.only_after or len(known) < len(judged)
            compared = f"the {len(known)} outputs that could be compared" if alone else "all outputs"
            return f"No difference found: {count}, and {compared} are bit-identical."
        most = max((each for each in known if not each.same), key=lambda each: each.absolute or 0.0)
        return f"No difference found beyond rounding: {count}, outputs {distance_in_words(most)}."
    count = f"{len(differences)} difference{'s' * (len(differences) > 1)}"
    given = next((each for each in judged if each.call.parent is None and each.other.parent is None), None)
    if given is not None and given.inputs is False:
        return f"The two runs were given other inputs, {_inputs_in_words(given)}: {count} found."
    if origin is None:
        return f"{count} found, the first: {differences[0].message}."
    what = f"{_name(origin.path)} ({origin.class_name})" + (f", call {origin.nth}," if origin.nth > 1 else "")
    why = f": {'; '.join(origin.why)}" if origin.why else ""
    if origin.apart is None:
        return f"The second run leaves the first at {what}{why}."
    return f"The second run leaves the first at {what}: its inputs agree, its output does not{why}."


def _inputs_in_words(given: Judged) -> str:
    one, two = (_side(call.inputs) for call in (given.call, given.other))
    if one != two:
        return f"{one} and {two}"
    if given.into is not None and not given.into.same:
        return distance_in_words(given.into)
    return " and ".join(", ".join(_texts(call.inputs)) or "none" for call in (given.call, given.other))


def _notes(before: Trace, after: Trace, found: Alignment, judged: Sequence[Judged], exact: bool) -> Iterator[str]:
    dtypes = {name for call, other in found.pairs for name in (*_dtypes(call.outputs), *_dtypes(other.outputs))}
    if any(each.apart is not None for each in judged) and in_words(dtypes):
        within = "what is within it is called rounding" if exact else "what is within it counts as equal"
        yield f"tolerance: {in_words(dtypes)}; {within}"
    elif not any(each.apart is not None for each in judged):
        yield "no numbers were compared: the traces hold none of the same calls; `run --save-values` keeps them"
    if None not in (before.run.seed, after.run.seed) and before.run.seed != after.run.seed:
        yield f"recorded with seeds {before.run.seed} and {after.run.seed}, so random weights and inputs are others"
    for call, other in found.pairs:
        if call.error and other.error and not call.error.raised_below and call.error.type == other.error.type:
            yield f"{_name(call.path)} raised {call.error.type} in both"
    if found.given_up:
        yield "too many calls have no namesake to align them by order; --map tells which name became which"
    for call, other in _roots(found) if found.is_port else ():
        ours, theirs = len(shapes_of(call.outputs)), len(shapes_of(other.outputs))
        if ours != theirs:
            yield f"the first gives {ours} tensors, the second {theirs}; what both give was compared, in order"
    if found.is_port and (found.only_before or found.only_after):
        left = f"{len(found.only_before)} of the first and {len(found.only_after)} of the second"
        were = "was" if len(found.pairs) == 1 else "were"
        yield f"{_calls(found.pairs)} {were} aligned; {left} have no counterpart"
    if before.versions.torch != after.versions.torch:
        yield f"recorded with torch {before.versions.torch} and {after.versions.torch}"


def _with_why(origin: Origin, judged: Sequence[Judged], why: Callable[[Call, Call], Iterable[str]]) -> Origin:
    pair = next((each for each in judged if (each.call.path, each.call.nth) == (origin.path, origin.nth)), None)
    return replace(origin, why=(*origin.why, *why(pair.call, pair.other))) if pair and origin.apart else origin


def _difference(kind: str, severity: Severity, call: Call, before: str, after: str, message: str) -> Difference:
    return Difference(kind, severity, call.path or "", before, after, message, call.nth)


def _calls(counted: Sequence[object]) -> str:
    return f"{len(counted)} call{'s' * (len(counted) != 1)}"


def _name(path: str | None) -> str:
    return path or ("the model" if path == "" else "a module outside the tree")


def _side(leaves: tuple[Leaf, ...]) -> str:
    return f"{shapes_in_words(leaves)} {', '.join(dict.fromkeys(_dtypes(leaves)))}".strip()


def _dtypes(leaves: tuple[Leaf, ...]) -> tuple[str, ...]:
    return tuple(leaf.dtype for leaf in leaves if isinstance(leaf, TensorMeta))


def _texts(leaves: tuple[Leaf, ...]) -> tuple[str, ...]:
    return tuple(f"{leaf.name}={leaf.value}" for leaf in leaves if isinstance(leaf, Value))


def _hooks(call: Call) -> str:
    return ", ".join(f"{hook.kind} {hook.name}{'' if hook.fired else ' (not run)'}" for hook in call.hooks) or "none"
