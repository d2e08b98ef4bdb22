"""FT006 for recurrent layers: their features, and the states that they begin with."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.changes import PassedTo, Proposal, Step
from fwdtrace.findings.forward_error.failure import CALL, Explain, Explanation, Failure, Misfit, sizes
from fwdtrace.findings.forward_error.products import features
from fwdtrace.trace.text import shape_text
from fwdtrace.trace.values import Shape


def recurrent(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An RNN, LSTM or GRU, or a cell of one, that got another number of features than its input_size."""
    numbers = {key: int(value) for key, value in match.groupdict().items()}
    if not failure.tensors or failure.tensors[0].shape[-1:] != (numbers["got"],):
        return None
    return features(failure, numbers["expected"], failure.tensors[0], "input_size")


def hidden(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An initial hidden state whose shape does not fit the input."""
    expected, got = sizes(match[2]), sizes(match[3])
    layers = "layers·directions" if "bidirectional=True" in (failure.call.settings or "") else "layers"
    says = f"expects {match[1]} of {shape_text(expected)} ({layers}×batch×features), got {shape_text(got)}"
    tensor = failure.tensors[0] if failure.tensors else None
    if tensor is None or not len(tensor.shape) == len(expected) == len(got) == 3:
        return Explanation(says)
    first = "batch_first=True" in (failure.call.settings or "")
    says += f"; its input is {shape_text(tensor.shape)}, batch_first={first}"
    states = [leaf for leaf in failure.tensors[1:] if leaf.shape == got]
    misfits = tuple(Misfit(state, at, expected[at]) for state in states for at in range(3) if got[at] != expected[at])
    other = tensor.shape[1] if first else tensor.shape[0]
    proposals = failure.built("batch_first", not first) if expected[1] != got[1] == other else ()
    return Explanation(says, proposals + _for_each_layer(failure, expected, got), misfits)


def _for_each_layer(failure: Failure, expected: Shape, got: Shape) -> tuple[Proposal, ...]:
    """States that were made for fewer layers and directions, repeated for each."""
    path = failure.call.path
    if path is None or expected[1:] != got[1:] or not got[0] or expected[0] % got[0]:
        return ()
    steps = (Step("repeat", (expected[0] // got[0], 1, 1)),)
    given = enumerate(failure.tensors)
    changes = tuple(PassedTo(path, at, leaf.name, steps) for at, leaf in given if at and leaf.shape == got)
    return (Proposal(changes, CALL),)


_SIZES = r"[\[(]([\d, ]*)[\])]"
RECURRENT: tuple[tuple[str, Explain], ...] = (
    (r"must be equal to input_size\. Expected (?P<expected>\d+), got (?P<got>\d+)", recurrent),
    (r"inconsistent input_size: got (?P<got>\d+) expected (?P<expected>\d+)", recurrent),
    (rf"Expected (hidden(?:\[\d\])?) size {_SIZES}, got {_SIZES}", hidden),
)
"""Patterns of torch's messages, each with the function that explains it."""
