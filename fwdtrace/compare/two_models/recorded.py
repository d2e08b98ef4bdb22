"""A model with its arguments, and what one recorded run of it left: the trace, the numbers, the results."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.compare.two_models.buffers import copies_of_buffers
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder.describe import walk
from fwdtrace.recorder.measures.keeper import Keeper, Sides
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Trace

MAX_BYTES = 2**30


@dataclass(frozen=True)
class Runnable:
    """A model, the arguments it is called with, and the spec it came from."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    spec: str | None = None


@dataclass(frozen=True)
class Recorded:
    """What one run of a model left: its trace, the numbers of each call, and what the model raised, if anything.

    `digests` counts the tensors of which no copy was kept, `gave` has the results of the model itself, and `buffers`
    its buffers as they were before.
    """

    trace: Trace
    numbers: dict[int, Sides]
    digests: int
    error: Exception | None
    gave: dict[str, Tensor]
    buffers: dict[str, Tensor]


def recorded(runnable: Runnable, seed: int, max_bytes: int, *, ops: bool = True) -> Recorded:
    """Run a model once without gradients, on copies of its arguments, and keep copies of at most `max_bytes`."""
    runnable = _with_copied_inputs(runnable)
    buffers = copies_of_buffers(runnable.model)
    keeper = Keeper(max_bytes)
    recording = Recording(runnable.model, Options(ops=ops, keeper=keeper), runnable.spec, seed)
    seed_all(seed)
    raised, output = None, None
    with torch.no_grad():
        try:
            with recording:
                output = runnable.model(*runnable.args, **runnable.kwargs)
        except Exception as error:  # the model is the user's
            raised = error
        return Recorded(recording.trace, keeper.by_id, keeper.digests, raised, named_tensors(output), buffers)


class Once:
    """The recorded run of a model, which runs when it is first asked for."""

    def __init__(self, runnable: Runnable, seed: int, max_bytes: int) -> None:
        self._what = runnable, seed, max_bytes

    @cached_property
    def run(self) -> Recorded:
        """What the run left."""
        return recorded(*self._what)

    def forget(self) -> None:
        """Run anew when asked again, since the model has other weights."""
        vars(self).pop("run", None)


def named_tensors(output: Any) -> dict[str, Tensor]:
    """The tensors of a result by the names of their leaves."""
    return {name: leaf for name, leaf in walk(output, "") if isinstance(leaf, Tensor)}


def _with_copied_inputs(runnable: Runnable) -> Runnable:
    """The same with inputs of its own, so that the model can be run once more on those that it was given."""
    try:
        args, kwargs = copy.deepcopy((runnable.args, runnable.kwargs))
    except Exception:  # the user's own objects
        return runnable
    return replace(runnable, args=args, kwargs=kwargs)
