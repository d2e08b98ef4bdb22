"""The verdict on two traces in one sentence, and the notes below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdtrace.compare.agreement import ComparedCalls
from fwdtrace.compare.align import Alignment
from fwdtrace.compare.around import differences_around
from fwdtrace.compare.comparison import Origin
from fwdtrace.compare.difference import Difference
from fwdtrace.compare.differences import ended_roots
from fwdtrace.compare.leaves import dtypes_of, lasting, other_values, tensors_in_words
from fwdtrace.compare.numbers.distance import furthest
from fwdtrace.compare.numbers.tolerances import in_words
from fwdtrace.compare.outputs_value import Outputs
from fwdtrace.trace import Call, Trace, shapes_in, tensors_in
from fwdtrace.trace.text import first_few, path_text, plural, site_text

MOST_NAMED = 3
_NOT_MOVED = "Weights that were not moved, or not with certainty, may be the reason"
_SAY_WHICH = "say by --map which is which, or load both by --weights and --weights-of-second"


def verdict_of(
    differences: Sequence[Difference],
    origin: Origin | None,
    compared: Sequence[ComparedCalls],
    alignment: Alignment,
    outputs: Outputs | None = None,
    raised: str = "",
) -> str:
    """What the comparison says, in one sentence; `differences` are worst first, and what `raised` leads."""
    if raised:
        apart = next((pair for pair in compared if pair.apart is not None and not pair.outputs_agree), None)
        if apart is not None:
            return f"{raised}; before that, {path_text(apart.call.path)} gives other numbers, {apart.apart.text}."  # type: ignore[union-attr]
        known = sum(pair.apart is not None for pair in compared)
        return raised + (f"; the {plural(known, 'call')} before that give the same." if known else ".")
    if not differences:
        return _no_difference(compared, alignment) if outputs is None else _results_agree(outputs)
    count = plural(len(differences), "difference")
    roots = next((pair for pair in compared if pair.call.parent is None and pair.other.parent is None), None)
    if roots is not None and roots.inputs_agree is False:
        return f"The two runs were given other inputs, {_other_inputs(roots)}: {count} found."
    not_moved = [difference.path for difference in differences if difference.kind == "weight"]
    names = first_few(not_moved, MOST_NAMED)
    if outputs is not None and outputs.equal and len(not_moved) == len(differences):
        return f"The results agree, but the second depends on weights that were not moved: {names}."
    if origin is None:
        return f"{_how_far(outputs)}{count} found, the first: {differences[0].message}."
    far = _how_far(outputs) if _lines(origin) else ""
    may_be = f" {_NOT_MOVED}: {names}; {_SAY_WHICH}." if not_moved else ""
    return far + leaves_at(origin, by_results=outputs is not None) + may_be


def leaves_at(origin: Origin, *, by_results: bool = False) -> str:
    """The sentence on where two runs part; `by_results`, if what the models give was compared by itself."""
    what = f"{path_text(origin.path)} ({origin.class_name})" + (f", call {origin.nth}" if origin.nth > 1 else "")
    why = f": {'; '.join(origin.why)}" if origin.why else ""
    lines = _lines(origin)
    where = f", {lines}" if lines else ""
    if origin.apart is None or (lines and by_results):
        return f"The second run leaves the first at {what}{why}{where}."
    return f"The second run leaves the first at {what}: its inputs agree, its output does not{why}{where}."


def notes_on(
    before: Trace, after: Trace, alignment: Alignment, compared: Sequence[ComparedCalls], *, exact: bool
) -> Iterator[str]:
    """What to know besides: the tolerance, and what makes the two runs hard to compare."""
    dtypes = {
        dtype
        for call, other in alignment.pairs
        for leaves in (call.outputs, other.outputs)
        for dtype in dtypes_of(leaves)
    }
    if all(pair.apart is None for pair in compared) and not raised_in(before, after):
        yield "no numbers were compared: the traces hold none of the same calls; `run --save-values` keeps them"
    elif in_words(dtypes):
        within = "what is within it is called rounding" if exact else "what is within it counts as equal"
        yield f"tolerance: {in_words(dtypes)}; {within}"
    if None not in (before.run.seed, after.run.seed) and before.run.seed != after.run.seed:
        yield f"recorded with seeds {before.run.seed} and {after.run.seed}, so random weights and inputs are others"
    yield from _notes_on_one_side(before, after)
    for call, other in alignment.pairs:
        if call.error and other.error and not call.error.raised_below and call.error.type == other.error.type:
            yield f"{path_text(call.path)} raised {call.error.type} in both"
    if alignment.given_up:
        yield "too many calls have no namesake to align them by order; --map tells which name became which"
    if alignment.is_port:
        yield from _notes_on_port(alignment)
    if before.versions.torch != after.versions.torch and not differences_around(before, after):
        yield f"recorded with torch {before.versions.torch} and {after.versions.torch}"


def raised_in(before: Trace, after: Trace) -> str:
    """Which of two runs raised, where and what: what leads the verdict; nothing if none did."""
    ours, theirs = _raised(before), _raised(after)
    if ours is None and theirs is None:
        return ""
    if ours is not None and theirs is not None:
        same = ours[1] == theirs[1]
        where = ours[0] if ours[0] == theirs[0] else f"{ours[0]} in the first and {theirs[0]} in the second"
        return (
            f"Both raise {ours[1]}: at {where}"
            if same
            else f"The first raises {ours[1]} at {ours[0]}, the second {theirs[1]} at {theirs[0]}"
        )
    where, what = ours or theirs or ("", "")
    return f"The {'first' if ours else 'second'} raises {what} at {where}"


def _raised(trace: Trace) -> tuple[str, str] | None:
    """Where a run raised, as far inside as possible, and what."""
    if not trace.has_raised:
        return None
    events = [event for event in trace.events if event.error and not event.error.raised_below]
    if not events:
        return None
    event = events[-1]
    place = f"{path_text(event.path)} ({event.class_name})" if isinstance(event, Call) else event.name
    error = event.error
    assert error is not None
    line = site_text(error.site or event.site)
    return place + (
        f", {line}" if line else ""
    ), f"{error.type} ({lasting(error.message).splitlines()[0]})" if error.message else error.type


def _results_agree(outputs: Outputs) -> str:
    """That what both models give is the same, or apart by rounding alone."""
    most = outputs.furthest
    results = plural(len(outputs.pairs), "result")
    if not outputs.rounding or most is None:
        one = len(outputs.pairs) == 1
        return f"No difference found: {'the result of both models is' if one else f'all {results} are'} bit-identical."
    return f"No difference found beyond rounding, as measured in float64: {results}, {most.text}."


def _how_far(outputs: Outputs | None) -> str:
    """A sentence on how far the results themselves are apart, if these were compared."""
    if outputs is not None and outputs.equal is None:
        return "The results have other shapes. "
    most = outputs.furthest if outputs is not None and not outputs.equal else None
    if most is None:
        return ""
    if most.relative is None:
        return f"The results differ, {most.text}. "
    return f"The results differ by up to {most.relative:.2g} of the largest element. "


def _lines(origin: Origin) -> str:
    """The line of the second, and that of the first: `port.py:12, model.py:40 in the first`."""
    one, two = site_text(origin.first_site), site_text(origin.site)
    if one == two:
        return two
    return ", ".join(part for part in (two, f"{one} in the first" if one else "") if part)


def _no_difference(compared: Sequence[ComparedCalls], alignment: Alignment) -> str:
    count = f"{plural(len(alignment.pairs), 'call')} on both sides"
    distances = [pair.apart for pair in compared if pair.apart is not None]
    if not distances:
        return f"No difference found: {count}, alike in all that was recorded; numbers were not."
    most = furthest(distance for distance in distances if not distance.same)
    if most is not None:
        return f"No difference found beyond rounding: {count}, outputs {most.text}."
    some = alignment.only_before or alignment.only_after or len(distances) < len(compared)
    outputs = f"the {len(distances)} outputs that could be compared" if some else "all outputs"
    return f"No difference found: {count}, and {outputs} are bit-identical."


def _notes_on_one_side(before: Trace, after: Trace) -> Iterator[str]:
    """What only one of the traces has, so that it was not compared, and what is of another kind as a whole."""
    for what, one, two in (
        ("ops", before.ops is not None, after.ops is not None),
        ("gradients", before.gradients is not None, after.gradients is not None),
        ("statistics", has_stats(before), has_stats(after)),
        ("FLOPs", *(any(call.flops is not None for call in trace.calls) for trace in (before, after))),
    ):
        if one != two:
            yield f"{what} were recorded in the {'first' if one else 'second'} only, and not compared"
    if before.run.grad != after.run.grad:
        yield "only one was recorded with gradients on, so requires_grad was not compared"
    if before.run.device != after.run.device:
        yield f"recorded on {before.run.device} and {after.run.device}"


def has_stats(trace: Trace) -> bool:
    """Whether statistics of outputs were recorded."""
    return any(leaf.stats is not None for call in trace.calls for leaf in tensors_in(call.outputs))


def _notes_on_port(alignment: Alignment) -> Iterator[str]:
    for call, other in ended_roots(alignment):
        ours, theirs = len(shapes_in(call.outputs)), len(shapes_in(other.outputs))
        if ours != theirs:
            yield f"the first gives {ours} tensors, the second {theirs}; what both give was compared, in order"
        one, two = (", ".join(other_values(root.outputs)) or "none" for root in (call, other))
        if one != two:
            yield f"outputs that are no tensors were not compared: {one} in the first, {two} in the second"
    if alignment.only_before or alignment.only_after:
        left = f"{len(alignment.only_before)} of the first and {len(alignment.only_after)} of the second"
        were = "was" if len(alignment.pairs) == 1 else "were"
        yield f"{plural(len(alignment.pairs), 'call')} {were} aligned; {left} have no counterpart"


def _other_inputs(roots: ComparedCalls) -> str:
    one, two = tensors_in_words(roots.call.inputs), tensors_in_words(roots.other.inputs)
    if one != two:
        return f"{one} and {two}"
    if roots.inputs_apart is not None and not roots.inputs_apart.same:
        return roots.inputs_apart.text
    return " and ".join(", ".join(other_values(call.inputs)) or "none" for call in (roots.call, roots.other))
