"""Run two models on the same inputs from the same random state, keep their numbers, and compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fwdtrace.compare import How, compare_traces
from fwdtrace.compare.align import align
from fwdtrace.compare.comparison import Comparison
from fwdtrace.compare.numbers import Values, held_apart
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder import Options, Recording
from fwdtrace.recorder.measures.keeper import Keeper, Sides
from fwdtrace.trace import Call, Trace

MAX_BYTES = 2**30


@dataclass(frozen=True)
class Side:
    """One model, what it is called with, and the spec it came from."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    spec: str | None = None


class Raised(Exception):
    """A model raised, the first of the two if both did; its exception is the cause, its spec the text.

    `comparison` is that of the calls up to there.
    """

    def __init__(self, spec: str, comparison: Comparison) -> None:
        super().__init__(spec)
        self.comparison = comparison


def compare_runs(
    before: Side, after: Side, how: How | None = None, *, seed: int = 0, max_bytes: int = MAX_BYTES, batch: int = 1
) -> Comparison:
    """Run both models once without gradients and compare all that was recorded, numbers included.

    Copies of at most `max_bytes` are kept, half of them of each side; larger tensors are compared by digest and
    statistics. With `batch`, the second has that many times the examples, the same ones first. Raised if a model
    raised, once all up to there is compared.
    """
    how = how or How()
    ours, kept, left_out, error = _run(before, seed, max_bytes // 2)
    theirs, found, left_out_too, other_error = _run(after, seed, max_bytes // 2)
    if left_out or left_out_too:
        text = f"{left_out + left_out_too} tensors beyond {max_bytes:,} bytes were compared by digest and statistics"
        how = replace(how, notes=(*how.notes, f"{text}; --max-bytes keeps more"))
    is_port = align(ours, theirs, how.maps).is_port

    def why(call: Call, other: Call) -> Iterable[str]:
        return held_apart(_module(before.model, call), _module(after.model, other))

    values = Values(kept, found, part=is_port, batch=batch)
    comparison = compare_traces(ours, theirs, replace(how, why=how.why or why), values.measure)
    for side, raised in ((before, error), (after, other_error)):
        if raised is not None:
            raise Raised(side.spec or type(side.model).__name__, comparison) from raised
    return comparison


def _run(side: Side, seed: int, max_bytes: int) -> tuple[Trace, dict[int, Sides], int, Exception | None]:
    seed_all(seed)
    keeper = Keeper(max_bytes)
    recording = Recording(side.model, Options(ops=True, keeper=keeper), side.spec, seed)
    raised = None
    with torch.no_grad():
        try:
            with recording:
                side.model(*side.args, **side.kwargs)
        except Exception as error:  # the model is the user's
            raised = error
        return recording.trace, keeper.by_id, keeper.digests, raised


def _module(model: nn.Module, call: Call) -> nn.Module:
    """The module a call was of; an empty one for a module outside the tree."""
    try:
        return nn.Module() if call.path is None else model.get_submodule(call.path)
    except AttributeError:  # it was swapped in during forward, and out again
        return nn.Module()
