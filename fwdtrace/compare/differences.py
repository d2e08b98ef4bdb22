"""Two aligned traces -> each Difference: other numbers, other structure, other exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from fwdtrace.compare.agreement import ComparedCalls
from fwdtrace.compare.align import Alignment, Pair
from fwdtrace.compare.difference import Difference, Severity
from fwdtrace.compare.leaves import lasting, other_values, outputs_begin_alike, tensors_in_words
from fwdtrace.compare.outputs_value import Outputs, output_name
from fwdtrace.compare.weight_map import WeightMap
from fwdtrace.trace import Call, Leaf, Op, TensorMeta, Trace, tensors_in
from fwdtrace.trace.text import path_text, shapes_text

_RUNS_HOOKS = "Module._call_impl.inner"
"""A step that a call with hooks has since torch 2.5, before which what is around it ran them."""


def differences_in_numbers(compared: Sequence[ComparedCalls]) -> Iterator[Difference]:
    """The calls whose outputs do not agree and are known to be apart."""
    for pair in compared:
        if pair.outputs_agree or pair.apart is None or pair.apart.same:
            continue
        severity: Severity = "rounding" if pair.apart.close else "numbers"
        message = f"{path_text(pair.call.path)} gives other numbers, {pair.apart.text}"
        one, two = tensors_in_words(pair.call.outputs), tensors_in_words(pair.other.outputs)
        yield _difference("output", severity, pair.call, one, two, message)


def differences_in_outputs(outputs: Outputs) -> Iterator[Difference]:
    """The results of the two models that do not agree, or that there is nothing to compare."""
    if outputs.equal is None:
        yield Difference("output", "structure", "", "", "", "the two models give nothing that could be compared")
    for pair in outputs.pairs if outputs.equal is False else ():
        if not pair.apart.same:
            severity: Severity = "rounding" if pair.apart.close else "numbers"
            names = output_name(pair)
            message = f"{names}: other numbers, {pair.apart.text}"
            yield Difference("output", severity, "", pair.first, pair.second, message)


def differences_in_weights(weights: WeightMap | None) -> Iterator[Difference]:
    """The weights of the second that its results depend on, and that are not those of the first."""
    for name in weights.matter if weights is not None else ():
        message = f"{name} was not moved, and the results of the second depend on it"
        yield Difference("weight", "structure", name, "none", name, message)


def differences_in_doubt(weights: WeightMap | None) -> Iterator[Difference]:
    """The weights of the second that others of the first may belong to, which only matters where results differ."""
    for name in weights.ambiguous if weights is not None else ():
        yield Difference("weight", "structure", name, "", "", f"{name} may be another weight of the first")


def differences_in_settings(
    compared: Sequence[ComparedCalls], settings: Callable[[Call, Call], Iterable[str]]
) -> Iterator[Difference]:
    """Settings of modules that differ where the results are the same; where these differ too, the origin names them."""
    for pair in compared:
        if pair.outputs_agree and pair.call.nth == 1 and pair.call.class_name == pair.other.class_name:
            for text in settings(pair.call, pair.other):
                message = f"{path_text(pair.call.path)} gives the same with other settings: {text}"
                yield _difference("settings", "structure", pair.call, "", "", message)


def differences_in_exceptions(alignment: Alignment) -> Iterator[Difference]:
    """The calls that raised on one side only, or raised something else."""
    for call, other in alignment.pairs:
        one, two = (ended.error.type if ended.error else "none" for ended in (call, other))
        if one != two:
            message = f"{path_text(call.path)} raised {one} in the first and {two} in the second"
            yield _difference("exception", "exception", call, one, two, message)
        elif call.error and other.error and not call.error.raised_below:
            one, two = (lasting(error.message) for error in (call.error, other.error))
            if one != two:
                message = f"{path_text(call.path)} raised {call.error.type} with another message: {one} became {two}"
                yield _difference("exception", "exception", call, one, two, message)


def differences_in_structure(before: Trace, after: Trace, alignment: Alignment) -> Iterator[Difference]:
    """Calls that only one side makes, calls of other traits, ops and order."""
    yield from _on_one_side(alignment.only_before, "missing", "first")
    yield from _on_one_side(alignment.only_after, "added", "second")
    ops, other_ops = _ops_by_call(before), _ops_by_call(after)
    latest = -1
    for call, other in alignment.pairs:
        yield from _unlike(call, _traits(call, other, before, after))
        if ops is not None and other_ops is not None:
            yield from _differences_in_ops(call, ops.get(call.id, []), other_ops.get(other.id, []), before, after)
        if other.id < latest:
            yield _difference("order", "structure", call, "", "", f"{path_text(call.path)} runs earlier in the second")
        latest = max(latest, other.id)
    yield from _differences_of_models(before, after, alignment)


def differences_in_results(alignment: Alignment) -> Iterator[Difference]:
    """What two models themselves give in other shapes: all that is compared of a port, whose inside may be other."""
    for call, other in ended_roots(alignment):
        if not outputs_begin_alike(call, other):
            one, two = shapes_text(call.outputs), shapes_text(other.outputs)
            yield _difference("shape", "structure", call, one, two, f"{path_text(call.path)}: shape {one} became {two}")


def other_ops(before: Trace, after: Trace, alignment: Alignment) -> bool:
    """Whether a call that belongs to another computes by other operations."""
    ours, theirs = _ops_by_call(before), _ops_by_call(after)
    if ours is None or theirs is None:
        return False
    return any(
        [op.name for op in ours.get(call.id, ())] != [op.name for op in theirs.get(other.id, ())]
        for call, other in alignment.pairs
    )


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


Trait = tuple[str, Severity, str, str]
"""What is compared, how severe a difference in it is, and both sides in words."""


def _unlike(call: Call, traits: Iterable[Trait]) -> Iterator[Difference]:
    for kind, severity, one, two in traits:
        if one != two:
            yield _difference(kind, severity, call, one, two, f"{path_text(call.path)}: {kind} {one} became {two}")


def _traits(call: Call, other: Call, before: Trace, after: Trace) -> Iterator[Trait]:
    """What two calls are compared by besides their numbers: all that is recorded but places, threads and times."""
    yield "name", "observation", path_text(call.path), path_text(other.path)
    yield "class", "structure", call.class_name, other.class_name
    yield "parameters", "structure", f"{call.parameters:,}", f"{other.parameters:,}"
    if not call.error and not other.error:
        yield from _traits_of_leaves("", call.outputs, other.outputs, before, after)
        yield "value", "numbers", _values(call.outputs), _values(other.outputs)
        yield "non-finite", "numbers", _non_finite(call), _non_finite(other)
    else:
        yield "settings", "structure", call.settings or "none", other.settings or "none"
    yield from _traits_of_leaves("input ", call.inputs, other.inputs, before, after)
    yield "argument", "structure", _values(call.inputs), _values(other.inputs)
    yield "entry", "observation", call.entry, other.entry
    yield "hooks", "observation", _hooks(call), _hooks(other)
    if call.entry == other.entry and call.hooks == other.hooks and call.class_name == other.class_name:
        same_torch = before.versions.torch == after.versions.torch
        one, two = (
            " → ".join(step for step in each.chain if same_torch or step != _RUNS_HOOKS) or "none"
            for each in (call, other)
        )
        yield "chain", "observation", one, two
    yield "seen inside", "observation", call.opaque or "all", other.opaque or "all"
    if None not in (call.flops, other.flops):
        yield "flops", "cost", f"{call.flops:,}", f"{other.flops:,}"
    if before.gradients is not None and after.gradients is not None:
        one, two = ("none" if ended.backward is None else "run" for ended in (call, other))
        yield "backward", "gradients", one, two


def _traits_of_leaves(
    prefix: str, leaves: Sequence[Leaf], others: Sequence[Leaf], before: Trace, after: Trace
) -> Iterator[Trait]:
    """What the tensors on one side of two calls, or of two ops, are compared by."""
    yield f"{prefix}shape", "structure", shapes_text(leaves), shapes_text(others)
    ours, theirs = tensors_in(leaves), tensors_in(others)
    for kind in ("dtype", "layout", "placements"):
        one, two = (_listed(str(getattr(tensor, kind)) for tensor in tensors) for tensors in (ours, theirs))
        yield f"{prefix}{kind}", "structure", one, two
    yield f"{prefix}device", "structure", _devices(ours, before), _devices(theirs, after)
    if before.run.grad == after.run.grad:
        one, two = (_listed(str(tensor.requires_grad) for tensor in tensors) for tensors in (ours, theirs))
        yield f"{prefix}requires_grad", "gradients", one, two


def _differences_in_ops(
    call: Call, ops: Sequence[Op], others: Sequence[Op], before: Trace, after: Trace
) -> Iterator[Difference]:
    """The ops that two calls ran themselves: which, and if these are the same, what each got and gave."""
    one, two = (_listed(op.name for op in side) for side in (ops, others))
    if one != two:
        yield _difference("ops", "structure", call, one, two, f"{path_text(call.path)}: ops {one} became {two}")
        return
    for op, other in zip(ops, others, strict=True):
        traits = [
            *_traits_of_leaves("", op.outputs, other.outputs, before, after),
            ("value", "numbers", _values(op.outputs), _values(other.outputs)),
            ("op argument", "structure", _values(op.inputs), _values(other.inputs)),
        ]
        for kind, severity, ours, theirs in traits:
            if ours != theirs:
                message = f"{op.name} in {path_text(call.path)}: {kind} {ours} became {theirs}"
                yield _difference(kind, severity, call, ours, theirs, message)


def _differences_of_models(before: Trace, after: Trace, alignment: Alignment) -> Iterator[Difference]:
    """What is recorded of the models as a whole: their mode, and the modules that did not run."""
    one, two = ("train" if trace.model.training else "eval" for trace in (before, after))
    if one != two:
        yield Difference(
            "mode", "structure", "", one, two, f"the model is in {one} mode in the first, {two} in the second"
        )
    known = {call.path for call in (*alignment.only_before, *alignment.only_after)}
    ours, theirs = ({row.path: row for row in trace.uncalled if row.path not in known} for trace in (before, after))
    for path in dict.fromkeys([*ours, *theirs]):
        if ours.get(path) != theirs.get(path):
            one, two = ("does not run" if path in side else "none" for side in (ours, theirs))
            side = "both, with other parameters" if one == two else f"the {'first' if path in ours else 'second'} only"
            yield Difference("not run", "structure", path, one, two, f"{path} is there without running in {side}")


def _ops_by_call(trace: Trace) -> dict[int, list[Op]] | None:
    """The ops that each call ran itself, by the id of the call; None if ops were not recorded."""
    if trace.ops is None:
        return None
    ops: dict[int, list[Op]] = {}
    for op in trace.ops:
        if op.parent is not None:
            ops.setdefault(op.parent, []).append(op)
    return ops


def _values(leaves: Iterable[Leaf]) -> str:
    return _listed(other_values(leaves))


def _devices(tensors: Iterable[TensorMeta], trace: Trace) -> str:
    """The devices, where that of the run itself, which is noted, is the same in each run."""
    return _listed("that of the run" if tensor.device == trace.run.device else tensor.device for tensor in tensors)


def _non_finite(call: Call) -> str:
    if call.nonfinite is None:
        return "none recorded"
    return f"{call.nonfinite.nan:,} NaN and {call.nonfinite.inf:,} infinite"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts) or "none"


def _hooks(call: Call) -> str:
    return ", ".join(f"{hook.kind} {hook.name}{'' if hook.fired else ' (not run)'}" for hook in call.hooks) or "none"


def _difference(kind: str, severity: Severity, call: Call, before: str, after: str, message: str) -> Difference:
    return Difference(kind, severity, call.path or "", before, after, message, call.nth)
