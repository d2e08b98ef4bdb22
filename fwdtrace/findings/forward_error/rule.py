"""FT006: the call or op that raised, with the reason in the terms of the model in place of torch's message."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from fwdtrace.findings.forward_error.arguments import ARGUMENTS
from fwdtrace.findings.forward_error.changes import Proposal
from fwdtrace.findings.forward_error.failure import Explanation, Failure, Misfit, operands, sizes
from fwdtrace.findings.forward_error.inputs import other_inputs
from fwdtrace.findings.forward_error.layers import LAYERS
from fwdtrace.findings.forward_error.loading import LOADING
from fwdtrace.findings.forward_error.losses import LOSSES
from fwdtrace.findings.forward_error.products import PRODUCTS
from fwdtrace.findings.forward_error.rearranged import REARRANGED
from fwdtrace.findings.forward_error.recurrent import RECURRENT
from fwdtrace.findings.forward_error.reshapes import RESHAPES
from fwdtrace.findings.forward_error.sequences import SEQUENCES
from fwdtrace.findings.forward_error.sizes import SIZES
from fwdtrace.findings.forward_error.squeezed import DIMENSIONS, squeezes
from fwdtrace.trace import Call, CallError, Finding, Fix, Op, Site, Trace
from fwdtrace.trace.text import error_text, name_of, path_text
from fwdtrace.trace.values import tensors_in

LONGEST_ERROR = 300
MADE = "<string>"
"""The file of code that torch has made, as for the guards of an exported program: no one can go to a line of it."""
MOST_NUMBERS = 4
MOST_WITHIN_ITSELF = 20
"""So often may a module be called within its own call before that is what is wrong with it."""

# In this order: a tensor of the wrong kind first, since torch's message about it can also read like a wrong shape.
EXPLANATIONS = (
    *(*LOSSES, *ARGUMENTS, *LAYERS, *SEQUENCES, *RECURRENT),
    *(*PRODUCTS, *RESHAPES, *SIZES, *REARRANGED, *DIMENSIONS, *LOADING),
)


def forward_error(trace: Trace) -> Iterator[Finding]:
    """FT006: the innermost call or op that raised, unless a caller caught the error; equal failures are one finding."""
    for finding, _, _ in _explained(trace):
        yield finding


def proposals_for(trace: Trace, *, inputs: bool = True) -> tuple[Finding, tuple[Proposal, ...]] | None:
    """The last finding FT006 of a trace, and what is worth a try against it: what changes the least comes first.

    Without `inputs`, other sizes of the model's arguments are left out.
    """
    explained = list(_explained(trace))
    if not explained:
        return None
    finding, failure, explanation = explained[-1]
    proposals = [
        *explanation.proposals,
        *squeezes(failure),
        *(other_inputs(failure, explanation.misfits) if inputs else ()),
    ]
    return finding, tuple(sorted(dict.fromkeys(proposals), key=lambda proposal: proposal.cost))


def failed_call(trace: Trace) -> Call | None:
    """The last of the outermost calls that raised."""
    return next((call for call in reversed(trace.children()) if call.error is not None), None)


def _explained(trace: Trace) -> Iterator[tuple[Finding, Failure, Explanation]]:
    reported = set()
    for root in trace.children():
        if root.error is None:
            continue
        failure, raised_again_by = _innermost(trace, root, root.error)
        site = _line(failure)
        key = failure.call.path, failure.name, site, failure.error
        if key in reported:
            continue
        reported.add(key)
        explanation = _explanation(failure)
        message = _message(failure, explanation, raised_again_by)
        fixes = () if not explanation.note else (Fix(explanation.note, tried=False),)
        yield Finding("FT006", "forward-error", failure.call.id, message, site, fixes), failure, explanation


def _line(failure: Failure) -> Site | None:
    """The innermost line of the model's own code, else the innermost, else the line that calls the model."""
    trace, call = failure.trace, failure.call
    own = trace.model.class_name.partition(".")[0]
    inside = failure.op.site if failure.op else failure.error.site or call.site
    around = [call, *trace.callers(call)]
    for site in [inside, *(each.site for each in around)]:
        if site is None or site == around[-1].site:  # the line that calls the model is none of the model's own
            continue
        if site.file == MADE:
            continue
        _, installed, rest = site.file.replace("\\", "/").rpartition("-packages/")
        if not installed or rest.startswith((f"{own}/", f"{own}.")):
            return site
    return (inside if inside is not None and inside.file != MADE else None) or around[-1].site or inside


def _innermost(trace: Trace, call: Call, error: CallError) -> tuple[Failure, Call | None]:
    """Where the error of `call` came from, and the outer call that raised another error because of it, if one did."""
    raised_again_by = None
    while True:
        below = _raised_below(trace, call, error)
        if below is None or below.error is None:
            return Failure(trace, call, None, error), raised_again_by
        if (below.error.type, below.error.message) != (error.type, error.message):
            raised_again_by = call
        if isinstance(below, Op):
            return Failure(trace, call, below, below.error), raised_again_by
        call, error = below, below.error


def _raised_below(trace: Trace, call: Call, error: CallError) -> Call | Op | None:
    """The call or op directly below this one that its error may have come from."""
    if error.raised_below:
        return next((child for child in reversed(trace.children(call)) if child.error is not None), None)
    # An error after which something else ran was caught, and did not end the call.
    events = trace.made_by(call)
    return events[-1] if events else None


def _message(failure: Failure, explanation: Explanation, raised_again_by: Call | None) -> str:
    if failure.error.type == "KeyboardInterrupt":
        return f"interrupted in {failure.subject}"
    if failure.error.type == "SystemExit":
        return f"the program ended itself in {failure.subject}, as by sys.exit"
    if failure.error.type == "RecursionError":
        around = Counter(call.path for call in (failure.call, *failure.trace.callers(failure.call)))
        path, times = around.most_common(1)[0]
        if times > MOST_WITHIN_ITSELF:
            return f"{path_text(path)} is called within itself without end: {times:,} of its calls are open at once"
    parts = [f"{failure.subject} {explanation.says}", operands(failure, explanation.says)]
    if raised_again_by is not None and raised_again_by.error is not None:
        parts.append(f"{name_of(raised_again_by)} then raised {_in_one_line(raised_again_by.error)}")
    parts.append(explanation.note and f"{explanation.note} (not tried)")
    return "; ".join(part for part in parts if part)


def _explanation(failure: Failure) -> Explanation:
    for pattern, explain in EXPLANATIONS:
        match = re.search(pattern, failure.error.message)
        explanation = explain(failure, match) if match else None
        if explanation is not None:
            return explanation
    return Explanation(f"raised {_in_one_line(failure.error)}", misfits=_of_numbers(failure))


def _of_numbers(failure: Failure) -> tuple[Misfit, ...]:
    """The sizes that a message of the model's own names, next to another number that it may want in their place."""
    numbers = dict.fromkeys(sizes(failure.error.message))
    if not 2 <= len(numbers) <= MOST_NUMBERS:
        return ()
    tensors = failure.tensors or tensors_in(failure.call.inputs)
    return tuple(
        Misfit(tensor, at, wanted)
        for tensor in tensors
        for wanted in numbers
        for at, size in enumerate(tensor.shape)
        if at > 0 and size in numbers and size != wanted > 0
    )


def _in_one_line(error: CallError) -> str:
    text = " ".join(error.message.split()).rstrip(".")
    if len(text) > LONGEST_ERROR:
        text = text[: LONGEST_ERROR - 1] + "…"
    return error_text(CallError(error.type, text))
