"""A run without `--input` that failed: other inputs are tried on a copy, until the model takes one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from torch import nn

from fwdtrace.errors import InputError
from fwdtrace.findings.forward_error.changes import Given
from fwdtrace.findings.forward_error.rule import proposals_for
from fwdtrace.models.guess import guessed_inputs
from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.load import load_model
from fwdtrace.models.randomness import seed_all
from fwdtrace.models.spec import Inputs
from fwdtrace.trace import Trace
from fwdtrace.trials.apply import CannotChange
from fwdtrace.trials.copies import Copy
from fwdtrace.trials.same_crash import failing_copy
from fwdtrace.trials.search import working_proposals
from fwdtrace.trials.time_left import OutOfTime, TimeLeft

SECONDS = 2.0
MOST_GUESSES = 16


def better_guess(module: nn.Module, trace: Trace | None, seed: int) -> tuple[str, ...]:
    """The `--input` texts of the first guess with which a copy of the model comes to its end.

    If there is none, the first guess that comes further than the run that failed, so that what raises then is not the
    layer which the guess was for; none if none does.
    """
    time = TimeLeft(SECONDS)
    further: tuple[str, ...] = ()
    failed_at = _place(trace)
    with suppress(OutOfTime), time.for_all():
        for texts in islice(guessed_inputs(module, trace), MOST_GUESSES):
            if time.is_up:
                break
            try:
                inputs = build_inputs(texts, module, seed)
                failed = Copy.of(module, inputs).run((), record=True).trace
            except (InputError, CannotChange):
                continue
            if failed is None:
                return texts
            for other in _resized(texts, failed, module, inputs, time):
                return other
            if not further and _place(failed) > failed_at:
                further = texts
    return further


def other_inputs(spec: str, seed: int, *, trust: bool = False) -> tuple[str, ...]:
    """The `--input` texts that the model of a spec takes, where nobody gave any and the first guess failed.

    None if the model says itself what it takes, and on ranks, each of which might find other ones.
    """
    if "RANK" in os.environ:
        return ()
    seed_all(seed)
    loaded = load_model(spec, trust=trust)
    return better_guess(loaded.module.eval(), None, seed) if loaded.guessed else ()


def ran_with(tried: tuple[str, ...], *, raised: bool = False) -> str:
    """The sentence that says what a model was given, where nobody gave anything."""
    options = " ".join(f"--input {text}" for text in tried)
    if raised:
        return f"no --input was given: this is with {options}, a guess, and the model may want another"
    return f"no --input was given; the model takes {options}, and ran with that"


def _place(trace: Trace | None) -> int:
    """How many calls came to their end."""
    return 0 if trace is None else sum(call.error is None for call in trace.calls)


def _resized(
    texts: tuple[str, ...], failed: Trace, module: nn.Module, inputs: Inputs, time: TimeLeft
) -> Iterator[tuple[str, ...]]:
    """The same inputs with other sizes, where those are all that is wrong."""
    found = proposals_for(failed)
    if found is None:
        return
    proposals = [each for each in found[1] if each.only_resizes_inputs]
    names = [leaf.name for leaf in failed.children()[0].inputs]
    failing = failing_copy(failed, module, inputs, has_no_values=False) if proposals else None
    for working in working_proposals(failing, proposals, time) if failing is not None else ():
        sizes = {change.argument: change.shape for change in working.proposal.changes if isinstance(change, Given)}
        yield tuple(_with_sizes(text, sizes.get(name)) for text, name in zip(texts, names, strict=False))


def _with_sizes(text: str, shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return text
    _, colon, rest = text.partition(":")
    return "x".join(map(str, shape)) + colon + rest


def nobody_chose(trace: Trace, tried: tuple[str, ...]) -> Trace:
    """The trace whose crash is said first to be one over an input that nobody gave."""
    says = f"{ran_with(tried, raised=True)}; "
    findings = tuple(
        replace(each, message=says + each.message) if each.code == "FT006" else each for each in trace.findings
    )
    return replace(trace, findings=findings)
