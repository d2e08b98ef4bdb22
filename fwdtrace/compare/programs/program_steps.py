"""The saved calls of two programs, step by step -> TraceComparison of the first that is not the same in both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fwdtrace.compare.agreement import DistancesOf, strictness_of
from fwdtrace.compare.align import align
from fwdtrace.compare.around import RANDOM_STATE, differences_around, settings_of_optimizer
from fwdtrace.compare.comparison import ComparedStep, Origin, TraceComparison
from fwdtrace.compare.difference import Difference, Severity, worst_first
from fwdtrace.compare.leaves import dtypes_of
from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, Distance, furthest
from fwdtrace.compare.programs.after_backward import said_of_gradients
from fwdtrace.compare.programs.beyond_rounding import beyond_rounding, with_beyond
from fwdtrace.compare.programs.dropped import said_of_dropped
from fwdtrace.compare.programs.judged import coarse_floor, judged_distances
from fwdtrace.compare.programs.program_verdict import BEYOND_SAMPLE, OneStep, program_verdict
from fwdtrace.compare.programs.saved_backward import BackwardCompared, SavedRun, compare_backward
from fwdtrace.compare.programs.saved_numbers import SavedValues, distance_of_saved, measure
from fwdtrace.compare.programs.systematic import array_of, share_in
from fwdtrace.compare.traces import How, compare_traces
from fwdtrace.trace import Call, Op

RunPair = tuple[SavedRun, SavedRun]

PARTS = ("numbers", "rounding", "exception")
"""The severities of differences by which forward parts, and not only computes the same otherwise."""
_MANY = 0.25
"""The share of all parameters that no rounding moves far."""
_DRAWS = ("dropout", "rand", "bernoulli", "multinomial", "normal", "uniform")
"""What the names of modules and ops that draw random numbers have in them."""


@dataclass(frozen=True)
class Weights:
    """The parameters and buffers that were apart before a call, of how many; those that one run alone has, in words."""

    apart: tuple[tuple[str, Distance], ...]
    of: int
    alone: tuple[str, ...] = ()

    @property
    def furthest(self) -> Distance | None:
        """The largest distance."""
        return furthest(distance for _, distance in self.apart)


def compare_programs(steps: Iterable[RunPair], how: How) -> TraceComparison:
    """Compare the calls of two programs in order, each with its weights before and its gradients after.

    The first that is not the same is compared in all, the later ones only in what the model gives and in its gradients.
    `steps` may load each call when it is asked for.
    """
    found: TraceComparison | None = None
    rows: list[ComparedStep] = []
    before: RunPair | None = None
    for one, two in steps:
        weights = compare_state(one, two)
        exactly = strictness_of(
            one.trace, two.trace, align(one.trace, two.trace, how.maps), how.exact, how.expected
        ).exact
        apart = weights is not None and bool(weights.apart)
        drifted = apart and (_have_drifted(weights) or _step_is_rounded(before, (one, two)))
        if found is not None and not exactly and drifted:
            row = _row(one, two, weights)
        elif found is None or found.equal:
            found, row = _compared((one, two), weights, how, rows, before)
        else:
            row = _row(one, two, weights)
        rows.append(row)
        before = one, two
    assert found is not None
    return replace(found, steps=tuple(rows) if len(rows) > 1 else ())


def compare_state(one: SavedRun, two: SavedRun) -> Weights | None:
    """How far the parameters and buffers were apart before the call; None if one of the runs has none saved."""
    ours, theirs = one.step.state, two.step.state
    if not ours.keys() & theirs.keys():
        return None
    apart = []
    for name in (name for name in ours if name in theirs):
        a, b = ours[name], theirs[name]
        about, other = one.values.about(a.tensor), two.values.about(b.tensor)
        if _alike(about, other):
            continue
        distance = NOT_COMPARABLE
        if about["shape"] == other["shape"] and a.sample is not None and b.sample is not None:
            distance = distance_of_saved(one.values, a.sample, two.values, b.sample)
            known = None not in (about["digest"], other["digest"]) and about["dtype"] == other["dtype"]
            if (distance.same or distance.absolute == 0) and not known:  # there is nothing more to go by
                continue
            distance = replace(distance, same=False)
        apart.append((name, distance))
    alone = [
        f"{name} is held by the {which} only"
        for which, mine, others in (("first", ours, theirs), ("second", theirs, ours))
        for name in mine
        if name not in others
    ]
    return Weights(tuple(apart), len(ours.keys() & theirs.keys()), tuple(alone))


def _have_drifted(weights: Weights | None) -> bool:
    """Whether the weights of two runs that are equal within rounding are apart by what an optimizer makes of that.

    Adam divides by the size of a gradient: one that is nothing but rounding moves its weight as far as any other. That
    is so for few parameters, and a call with such weights is no longer judged by what it gives.
    """
    if weights is None:
        return False
    far = sum(not distance.close for _, distance in weights.apart)
    return bool(weights.apart) and far < _MANY * weights.of


def _step_is_rounded(before: RunPair | None, now: RunPair) -> bool:
    """Whether the optimizer moved the weights alike on both sides, as far as gradients of a coarse dtype can say.

    What rounding makes of the smallest gradients, the optimizer may make of the largest steps, but not of most of them,
    nor in one direction.
    """
    floor = coarse_floor(now[0].trace, now[1].trace)
    if before is None or floor is None or settings_of_optimizer(differences_around(before[0].trace, before[1].trace)):
        return False
    far = 0
    for name in now[0].step.state:
        states = [[side.step.state.get(name) for side in sides] for sides in (before, now)]
        samples = [
            array
            for sides, row in zip((before, now), states, strict=True)
            for side, each in zip(sides, row, strict=True)
            if each is not None
            and each.sample is not None
            and (array := array_of(side.values, each.sample)) is not None
        ]
        if len(samples) < 4 or any(sample.shape != samples[0].shape for sample in samples):
            continue
        ours, theirs = samples[2] - samples[0], samples[3] - samples[1]
        other = float(abs(theirs - ours).max(initial=0.0)) and float(((theirs - ours) ** 2).sum() / (ours**2).sum())
        share = share_in(theirs - ours, ours)
        far += other > _MANY**2 or (share is not None and share.is_beyond(floor))
    return far < _MANY * len(now[0].step.state)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["digest"] is not None and all(one[name] == other[name] for name in ("shape", "dtype", "digest"))


def _compared(
    sides: RunPair, weights: Weights | None, how: How, steps: Sequence[ComparedStep], before: RunPair | None
) -> tuple[TraceComparison, ComparedStep]:
    """One call of two programs, compared in all that was saved of it.

    `steps` are the calls before, which are the same, and `before` is the last of them.
    """
    one, two = sides
    distances = judged_distances(one, two)
    # A compiled model runs as one call, which is like none but the first one of the other side.
    if not how.expected and isinstance(one.values, SavedValues) and isinstance(two.values, SavedValues):
        how = replace(how, contents=(one.values.summaries, two.values.summaries))
    how = replace(how, why=partial(_why, one, two, weights, distances))
    forward = compare_traces(one.trace, two.trace, how, distances)
    own = [each for each in forward.differences if each.kind not in ("gradient", "backward")]
    alignment = align(one.trace, two.trace, how.maps, how.contents)
    beyond = beyond_rounding(one, two, how, distances, alignment.pairs, forward)
    if beyond is not None:
        forward = with_beyond(forward, beyond)
        own += [beyond.difference] if beyond.difference is not None else []
    parts = forward.origin is not None or any(each.severity in PARTS for each in own)
    exactly = strictness_of(one.trace, two.trace, alignment, how.exact, how.expected).exact
    exact = exactly and not parts
    if weights is not None and not exactly:
        weights = replace(weights, apart=tuple(each for each in weights.apart if not each[1].close))
    backward = compare_backward(one, two, alignment.pairs, exact=exact)
    gradients = [each for each in forward.differences if each.kind == "gradient"]
    if backward is not None:
        gradients = list(backward.differences)
    of_weights = list(_differences(weights)) if weights is not None else []
    differences = worst_first([*of_weights, *own, *gradients])
    reason = None
    if backward is not None and backward.origin is not None:
        reason = said_of_gradients(one, two, alignment.pairs, before)
    optimizer = settings_of_optimizer(differences_around(before[0].trace, before[1].trace)) if before else ()
    step = OneStep(one.trace, two.trace, weights, forward, parts, backward, tuple(steps), reason, optimizer)
    origin = _origin(step)
    call = one.trace.run.call
    found = replace(
        forward,
        verdict=program_verdict(step, differences),
        differences=differences,
        origin=replace(origin, call=call) if origin is not None else None,
        growth=forward.growth if parts else (),
        notes=(*_scaled(backward), *forward.notes),
        backward_distances=backward.distances if backward is not None else (),
    )
    return found, _row(one, two, weights)


def _origin(step: OneStep) -> Origin | None:
    """Where the step parts: in its weights, which come first, in its forward, or else in its backward."""
    if step.weights is not None and step.weights.apart:
        name, distance = step.weights.apart[0]
        path = name.rpartition(".")[0]
        call = next(iter(step.first.at(path)), None)
        return Origin(path, 1, call.class_name if call else "", apart=distance, why=(name,), which="weights")
    if step.forward_differs:
        return step.forward.origin
    origin = step.backward.origin if step.backward is not None else None
    return replace(origin, why=(*origin.why, *filter(None, [step.reason]))) if origin is not None else None


def _why(
    one: SavedRun, two: SavedRun, weights: Weights | None, distances: DistancesOf, call: Call, other: Call
) -> Iterator[str]:
    """What two calls that part have otherwise: the dtype, the mode, the state of the random generator, parameters."""
    before, after = one.trace, two.trace
    apart = distances(call, other)[1]
    if apart is not None and apart.times is not None:
        yield f"it is {apart.times:.4g} times as large in the mean over all elements"
    ours, theirs = (", ".join(dict.fromkeys(dtypes_of(each.outputs))) for each in (call, other))
    if ours != theirs:
        yield f"{ours} became {theirs}"
    if before.model.training != after.model.training:
        modes = ["training mode" if trace.model.training else "evaluation mode" for trace in (before, after)]
        yield " became ".join(modes)
    else:
        yield from said_of_dropped(one.values, call, two.values, other)
    for said in weights.alone if weights is not None else ():
        if said.partition(" ")[0].rpartition(".")[0] in (call.path, other.path):
            yield said
    names = [call.class_name, *(op.name for op in before.made_by(call) if isinstance(op, Op))]
    if any(part in name.lower() for name in names for part in _DRAWS) and any(
        each.name == RANDOM_STATE for each in differences_around(before, after)
    ):
        yield "the random generator was in another state"


def _scaled(backward: BackwardCompared | None) -> Iterator[str]:
    """That backward is scaled and the gradients of the parameters are not."""
    if backward is not None and backward.scaled is not None:
        yield (
            f"the gradients that came to each call are {backward.scaled:,.6g} times those of the first, as those of a "
            "scaled loss are; those of the parameters were scaled back"
        )


def _differences(weights: Weights) -> Iterator[Difference]:
    is_measured = any(distance.absolute != 0 for _, distance in weights.apart)
    for name, apart in weights.apart:
        how_far = BEYOND_SAMPLE if apart.absolute == 0 else apart.text
        severity: Severity = "rounding" if apart.close and is_measured else "numbers"
        yield Difference("weight", severity, name, "", "", f"{name} differs before the call, {how_far}")


def _row(one: SavedRun, two: SavedRun, weights: Weights | None) -> ComparedStep:
    """How far apart a step is as a whole."""
    roots = list(zip(one.trace.children(), two.trace.children(), strict=False))
    apart = [measure(one.values, two.values, call, other) for call, other in roots]
    inputs = [inputs for inputs, _ in apart if inputs is not None]
    ours, theirs = one.step.gradients, two.step.gradients
    gradients = [
        (name, distance_of_saved(one.values, ours[name].tensor, two.values, theirs[name].tensor))
        for name in ours
        if name in theirs
        and one.values.about(ours[name].tensor)["shape"] == two.values.about(theirs[name].tensor)["shape"]
    ]
    return ComparedStep(
        one.trace.run.call or 1,
        two.trace.run.call or 1,
        all(distance.same for distance in inputs) if inputs else None,
        tuple(name for name, _ in weights.apart) if weights is not None else None,
        weights.furthest if weights is not None else None,
        furthest(outputs for _, outputs in apart if outputs is not None),
        _furthest_gradient(gradients),
    )


def _furthest_gradient(apart: Sequence[tuple[str, Distance]]) -> Distance | None:
    """The largest distance of gradients, each relative to the largest gradient that is apart in its module.

    The gradient of the bias of keys in attention is nothing but rounding.
    """
    largest: dict[str, float] = {}
    for name, distance in apart:
        module = name.rpartition(".")[0]
        size = (distance.absolute or 0.0) / distance.relative if distance.relative else 0.0
        largest[module] = max(largest.get(module, 0.0), size)
    relative = [
        replace(distance, relative=distance.absolute / size)
        if distance.absolute and (size := largest[name.rpartition(".")[0]])
        else distance
        for name, distance in apart
    ]
    return max(relative, key=lambda each: (not each.same, each.absolute is None, each.relative or 0.0), default=None)
