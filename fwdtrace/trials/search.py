"""Which of the proposed changes work: tried one after the other, what changes the least first, in bounded time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fwdtrace.findings.forward_error.changes import (
    Built,
    Called,
    Change,
    Converted,
    Given,
    Operand,
    PassedTo,
    Proposal,
    Step,
    proposal_text,
)
from fwdtrace.findings.forward_error.rule import failed_call, proposals_for
from fwdtrace.models.spec import Inputs
from fwdtrace.trace import Finding, Fix, Shape, Trace
from fwdtrace.trace.text import listed, shape_text
from fwdtrace.trials.apply import CannotChange
from fwdtrace.trials.conversions import likely_first
from fwdtrace.trials.copies import Copy, Outcome
from fwdtrace.trials.same_crash import Failing, failing_copy, is_large, last_crash
from fwdtrace.trials.time_left import OutOfTime, TimeLeft

SECONDS = 0.9
SECONDS_WITHOUT_MEMORY = 2.5
"""A trial is given up after so many seconds, and none begins that takes longer if it takes as long as the longest."""
MOST_RUNS = 80
MOST_CHANGES = 8
"""So many layers at most are built otherwise together: those that share a size, such as q, k and v."""
MOST_FIXES = 2
SLOW = 0.2
"""A run of so many seconds of work is not repeated without need."""


@dataclass(frozen=True)
class Working:
    """A proposal with which a copy of the model ran to its end, and the shapes of what it gave."""

    proposal: Proposal
    outputs: tuple[Shape, ...]


def with_tried_fixes(
    trace: Trace,
    model: nn.Module,
    inputs: Inputs,
    *,
    guessed: bool = False,
    on_meta: bool = False,
    is_statement: bool = False,
) -> Trace:
    """The trace of a call of the model that raised, with the fixes that work in its finding FT006.

    `inputs` are the arguments of that call; `guessed` says that nobody chose them, so that others are tried first.
    `on_meta`: the model has no values. `is_statement`: it stands for a line of a program.
    The model, its arguments and the random generators stay as they are.
    """
    call = failed_call(trace)
    if call is None or any(each.opaque == "compiled" for each in trace.calls):
        return trace
    time = TimeLeft(SECONDS_WITHOUT_MEMORY if on_meta or is_large(model) else SECONDS)
    found, failing = proposals_for(trace), None
    if trace.ops is None or (found is not None and found[1]):
        with suppress(OutOfTime), time.for_all():
            failing = failing_copy(trace, model, inputs, has_no_values=on_meta)
        found = proposals_for(failing.trace) if failing is not None else found
    if found is None:
        return trace
    finding, proposals = found
    if is_statement:  # of which the first dimension need not be that of the examples, but may be
        proposals = tuple(each for each in proposals if not _gives(each) or _leaves_rows(each.changes))
    if guessed:
        proposals = tuple(replace(each, cost=each.cost - 1) if _gives(each) else each for each in proposals)
    proposals = likely_first(model, proposals)
    working = working_proposals(failing, proposals, time) if failing is not None else ()
    if working:
        finding = _with_fixes(finding, working, "" if is_statement else call.path or "the model")
    said = last_crash(trace)
    if said is None:
        return trace
    better = replace(said, message=finding.message, site=finding.site or said.site, fixes=finding.fixes)
    return replace(trace, findings=tuple(better if each is said else each for each in trace.findings))


def working_proposals(failing: Failing, proposals: Sequence[Proposal], time: TimeLeft) -> tuple[Working, ...]:
    """Those of the proposals that work, the best first; what else has to change with them is changed as well."""
    with time.for_all():
        return _working_proposals(failing, proposals, time)


def _working_proposals(failing: Failing, proposals: Sequence[Proposal], time: TimeLeft) -> tuple[Working, ...]:
    copy, part, longest = failing.copy, failing.part, 0.0  # what runs to its end is run once more
    waiting = [(each.cost, number, each) for number, each in enumerate(proposals)]
    heapq.heapify(waiting)
    working: list[Working] = []
    kinds: set[object] = set()
    seen = {each.changes for each in proposals}
    for _ in range(MOST_RUNS):
        if not waiting or time.is_up or len(working) == MOST_FIXES:
            break
        _cost, number, proposal = heapq.heappop(waiting)
        if _kind(proposal) in kinds:
            continue
        try:
            outcome = None
            if part is not None and all(map(part.has, proposal.changes)):
                outcome = copy.run(proposal.changes, record=True, part=part)
            if outcome is None or outcome.outputs is not None:
                if not time.has(longest):
                    break
                passed = outcome is not None
                outcome = copy.run(proposal.changes, record=not passed and not proposal.only_resizes_inputs)
                longest = max(longest, outcome.seconds * (1 if outcome.outputs is None else 2))
                if passed and outcome.outputs is None and time.has(longest):  # it raises elsewhere now
                    outcome = copy.run(proposal.changes, record=True)
            if outcome.outputs is not None and _keeps_examples(copy, proposal.changes, outcome):
                working.append(Working(proposal, _shapes(outcome.outputs)))
                kinds.add(_kind(proposal))
        except CannotChange:
            continue
        except OutOfTime:
            break
        for further in _together(proposal, outcome):
            if further.changes not in seen and len(further.changes) <= MOST_CHANGES:
                seen.add(further.changes)
                heapq.heappush(waiting, (further.cost, number + len(seen), further))
    return tuple(working)


def _together(proposal: Proposal, outcome: Outcome) -> list[Proposal]:
    """The proposal with one more change of its kind, if the copy failed there for the same reason."""
    if outcome.trace is None:
        return []
    found = proposals_for(outcome.trace, inputs=False)
    if found is None:
        return []
    return [
        Proposal((*proposal.changes, further.changes[0]), proposal.cost + cost, proposal.why + further.why)
        for further in found[1]
        if further.changes[0] not in proposal.changes and (cost := _cost_together(proposal.changes, further.changes[0]))
    ]


def _cost_together(changes: tuple[Change, ...], further: Change) -> float:
    """What it costs to make one more change, 0 if it has nothing to do with those before."""
    sizes = {change.value for change in changes if isinstance(change, Built)}
    if isinstance(further, Built) and further.value in sizes:
        return 0.3
    if isinstance(further, Built) and all(isinstance(each, Built) and _are_siblings(each, further) for each in changes):
        return 0.3
    if isinstance(further, Operand) and all(
        isinstance(each, Operand) and each.steps == further.steps for each in changes
    ):
        return 0.3
    if isinstance(further, Called) and all(
        isinstance(each, Called) and replace(each, site=further.site) == further for each in changes
    ):
        return 0.3
    first = changes[0]
    if len(changes) == 1 and (
        (_dtypes_of(changes) and not _converts((further,)))
        or (isinstance(first, Called) and isinstance(further, Built))
    ):
        return 1.0
    return 0.0


def _are_siblings(one: Built, other: Built) -> bool:
    """Whether two layers are of one list, as those for several feature maps are, and the same argument changes."""
    (list_of_one, _, number), (list_of_other, _, second) = one.path.rpartition("."), other.path.rpartition(".")
    in_one_list = list_of_one == list_of_other and number.isdigit() and second.isdigit() and number != second
    return in_one_list and one.argument == other.argument


def _keeps_examples(copy: Copy, changes: tuple[Change, ...], outcome: Outcome) -> bool:
    """Whether each example has its own row in what the model gives, which depends on no other example.

    With one more example there has to be one more row, and the others stay as they were. Another dtype moves nothing.
    What is only given something else may be made for so many examples and no others; it is not run twice if it is slow.
    """
    outputs, number = outcome.outputs or [], copy.examples(changes)
    row = next((at for at, tensor in enumerate(outputs) if number in tensor.shape), None)
    if row is None:  # as of a loss, one number for all examples
        return all(tensor.dim() == 0 for tensor in outputs) and _leaves_rows(changes)
    only_given = all(isinstance(change, Given) for change in changes)
    if _converts(changes) or (only_given and outcome.seconds > SLOW):
        return True
    more = copy.run(changes, examples=number + 1)
    if more.outputs is None or len(more.outputs) <= row:
        return more.outputs is None and only_given
    before, after = outputs[row], more.outputs[row]
    places = [at for at, size in enumerate(before.shape) if size == number]
    grown = (at for at in places if after.shape == (*before.shape[:at], number + 1, *before.shape[at + 1 :]))
    place = next(grown, None)
    if place is None:
        return False
    if not copy.has_values:
        return not _turns_rows(changes)
    if more.drew or copy.is_training or not before.is_floating_point():
        return True
    try:
        return torch.allclose(after.narrow(place, 0, number), before, rtol=1e-2, atol=1e-4, equal_nan=True)
    except (RuntimeError, TypeError):  # a tensor of the user's own kind, or without values
        return False


def _leaves_rows(changes: tuple[Change, ...]) -> bool:
    """Whether the changes are steps of tensors that leave their first dimension as it is."""
    steps = [step for each in changes for step in getattr(each, "steps", ())]
    if not steps or any(isinstance(each, Given) and each.shape is not None for each in changes):
        return False
    return all(step.method in ("to", "sigmoid") or (step.args and min(_numbers(step)) > 0) for step in steps)


def _turns_rows(changes: tuple[Change, ...]) -> bool:
    """Whether a step inside the model puts another dimension in place of the examples, and none puts it back."""
    inside = (each for each in changes if isinstance(each, (Operand, PassedTo)) and not getattr(each, "back", ()))
    return any(step.method == "transpose" and 0 in step.args for each in inside for step in each.steps)


def _numbers(step: Step) -> tuple[int, ...]:
    return tuple(each for each in step.args if isinstance(each, int)) or (0,)


def _converts(changes: tuple[Change, ...]) -> bool:
    """Whether the changes are of dtypes alone."""
    return all(isinstance(change, Converted) or _dtypes_of((change,)) for change in changes)


def _shapes(outputs: list[Tensor]) -> tuple[Shape, ...]:
    return tuple(tuple(tensor.shape) for tensor in outputs)


def _gives(proposal: Proposal) -> bool:
    return all(isinstance(change, Given) for change in proposal.changes)


def _kind(proposal: Proposal) -> object:
    """What makes two proposals the same advice: one argument with other sizes, one dtype, the same steps elsewhere."""
    return tuple(dict.fromkeys(map(_kind_of_change, proposal.changes)))


def _kind_of_change(change: Change) -> object:
    if dtypes := _dtypes_of((change,)):
        return frozenset(dtypes)
    if isinstance(change, Given) and change.shape is not None:
        return "given", change.argument
    if isinstance(change, Converted):
        return "converted", change.dtype
    if isinstance(change, (Given, PassedTo)):
        return "steps", change.steps, change.back if isinstance(change, PassedTo) else ()
    return change


def _dtypes_of(changes: tuple[Change, ...]) -> set[str]:
    """The dtypes that tensors are converted to, if the changes do nothing else."""
    dtypes: set[str] = set()
    for change in changes:
        steps = change.steps if isinstance(change, (Operand, PassedTo)) else ()
        if isinstance(change, Given) and change.dtype and change.shape is None:
            dtypes.add(change.dtype)
        elif steps and all(step.method == "to" for step in steps):
            dtypes |= {str(step.args[0]).removeprefix("torch.") for step in steps}
        else:
            return set()
    return dtypes


def _result(shape: Shape) -> str:
    return shape_text(shape) if shape else "a scalar"


def _with_fixes(finding: Finding, working: Sequence[Working], called: str) -> Finding:
    """The finding with fixes of what was called, a line of the program if it has no name."""
    give = {"the model": "give the model", "": "use"}.get(called, f"call {called} with")
    fixes = tuple(Fix(proposal_text(each.proposal, give), True, each.outputs) for each in working)
    texts = [
        f"{fix.text} (tried: {called or 'the line'} then gives {listed(list(map(_result, fix.outputs)), 2)})"
        for fix in fixes
    ]
    said = finding.message
    for untried in finding.fixes:  # what works is better
        said = said.replace(f"; {untried.text} (not tried)", "")
    return replace(finding, message="; ".join((said, ", or ".join(texts))), fixes=fixes)
