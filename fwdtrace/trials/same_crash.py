"""A copy of a model that raises where the model did: only if it does, what it runs with says something of the model."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import nn

from fwdtrace.findings.forward_error.rule import failed_call
from fwdtrace.models.spec import Inputs
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.torch_internals import meta_is_ready
from fwdtrace.trace import Finding, Trace, tensors_in
from fwdtrace.trials.apply import CannotChange
from fwdtrace.trials.copies import Copy, Outcome, Part, Tensors

LARGEST_COPY = 2**28
SLOWEST_RUN = 300_000.0
MOST_ELEMENTS = 2**20
"""A model of more bytes is tried without memory, or whose run takes more microseconds and has made more elements until
it failed: the first run of a small model may only have waited for torch to get ready."""
QUICK = 0.03
"""Of what fails after so many seconds of work, no part is run alone."""


@dataclass(frozen=True)
class Failing:
    """A copy, and its crash or that of the model, whichever has the ops.

    `part` is the part of the copy in which it raises, if it raises the same when it is run alone, which is quicker.
    """

    copy: Copy
    trace: Trace
    part: Part | None = None


def failing_copy(trace: Trace, model: nn.Module, inputs: Inputs, *, has_no_values: bool) -> Failing | None:
    """A copy that raises where the model did; None if there is none.

    It has no memory if the model is large, and is of fake tensors if the meta device cannot run it. A model that only
    took long is tried on the meta device as well; but there torch looks at shapes more closely than at all else, so it
    is copied with its weights if the other copy does not raise.
    """
    if has_no_values or is_large(model):
        return _first_that_fails(trace, trace.ops is not None, model, inputs, ("meta", "fake"))
    slow = _expected_duration(trace, model) > SLOWEST_RUN and _elements_made(trace) > MOST_ELEMENTS and meta_is_ready()
    if trace.ops is not None:
        return _first_that_fails(trace, True, model, inputs, ("meta", "real") if slow else ("real",))
    real = _first_that_fails(trace, False, model, inputs, ("real",))
    if real is None or not slow:
        return real
    return _first_that_fails(real.trace, True, model, inputs, ("meta",)) or real


def is_large(model: nn.Module) -> bool:
    """Whether there is no room for a copy of its weights, or it has none."""
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return size > LARGEST_COPY or any(tensor.is_meta for tensor in tensors)


def last_crash(trace: Trace) -> Finding | None:
    """What the trace says about its last crash."""
    return next((finding for finding in reversed(trace.findings) if finding.code == "FT006"), None)


def _first_that_fails(
    trace: Trace, has_ops: bool, model: nn.Module, inputs: Inputs, kinds: tuple[Tensors, ...]
) -> Failing | None:
    for tensors in kinds:
        try:
            copy = Copy(trace, model, inputs, tensors)
            outcome = copy.run((), record=True)
            crash = outcome.trace
            if crash is None:
                continue
            like = crash if has_ops or _raises_the_same(trace, crash) else copy.run((), record=True, ops=False).trace
        except CannotChange:
            continue
        if like is not None and (_raises_the_same(trace, like) or _place(trace) == _place(like) is not None):
            return Failing(copy, trace if has_ops else crash, _part_that_fails(copy, outcome, crash))
    return None


def _part_that_fails(copy: Copy, outcome: Outcome, crash: Trace) -> Part | None:
    """The part in which the copy raised, if it raises there when it is run alone."""
    if outcome.part is None or outcome.seconds < QUICK or copy.is_most(outcome.part):
        return None
    if not _was_given(crash, outcome.part):
        return None
    try:
        alone = copy.run((), record=True, part=outcome.part)
    except CannotChange:  # what it was given cannot be copied
        return None
    return outcome.part if alone.trace is not None and _place(alone.trace) == _place(crash) is not None else None


def _was_given(crash: Trace, part: Part) -> bool:
    """Whether a part still has the arguments that it was called with: it may have written into one, as into a cache."""
    calls = (call for call in reversed(crash.calls) if call.path == part.path and call.error is not None)
    call = next(calls, None)
    shapes = [tuple(tensor.shape) for tensor in tensors_of((part.inputs.args, part.inputs.kwargs))]
    return call is not None and [leaf.shape for leaf in tensors_in(call.inputs)] == shapes


def _expected_duration(trace: Trace, model: nn.Module) -> float:
    """How many microseconds a run to the end takes, by how many of the modules were called before it failed."""
    called = len({call.path for call in trace.calls})
    return trace.run.duration_us / max(1, called) * max(called, sum(1 for _ in model.modules()))


def _elements_made(trace: Trace) -> int:
    return sum(prod(leaf.shape) for event in trace.events for leaf in tensors_in(event.outputs))


def _raises_the_same(one: Trace, two: Trace) -> bool:
    """Whether the same module raised the same error."""
    first, second = failed_call(one), failed_call(two)
    if first is None or second is None:
        return False
    return first.path == second.path and first.error == second.error


def _place(trace: Trace) -> tuple[str | None, str] | None:
    """The module of the crash, and what is said of it but for where its operands came from."""
    finding = last_crash(trace)
    if finding is None or finding.call is None:
        return None
    return trace.call(finding.call).path, finding.message.partition(";")[0]
