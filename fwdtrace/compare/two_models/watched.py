"""A model run once more, on a copy and in float64 where it can, with every step of it noted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree

from fwdtrace.compare.parting.known_results import KnownResults
from fwdtrace.compare.parting.steps import PartsOf, StepRecorder, Steps
from fwdtrace.compare.two_models.light_copy import light_copy
from fwdtrace.compare.two_models.recorded import Runnable, named_tensors
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Trace


@dataclass(frozen=True)
class Watched:
    """The trace and the steps of a run, the tensors that it gave by their names, and what it raised, if anything."""

    trace: Trace
    steps: Steps
    gave: dict[str, Tensor]
    error: Exception | None


Doubles = dict[tuple[object, ...], Tensor]
"""Parameters in float64, by where and how the numbers are stored: to write them takes longer than many a forward."""


def watch(
    runnable: Runnable,
    seed: int,
    doubles: Doubles | None,
    known: KnownResults | None = None,
    parts_of: PartsOf | None = None,
) -> Watched:
    """Run a copy of the model and note its steps; with `doubles`, all its floating numbers are float64.

    Attention is computed by the operations that it is made of, and torch's fused layers are not fused, so that what
    happens inside them is seen. With `parts_of`, the contents of the parts of each tensor are noted as well.
    """
    model, args, kwargs = light_copy(runnable.model, runnable.args, runnable.kwargs)
    if doubles is not None:
        model, args, kwargs = in_double(model, args, kwargs, doubles)
    watching = StepRecorder(model, known or KnownResults(), parts_of)
    recording = Recording(model, Options(ops=True, keeper=watching), None, seed)
    seed_all(seed)
    raised, output = None, None
    with torch.no_grad(), not_fused(), sdpa_kernel(SDPBackend.MATH):
        try:
            with recording, watching:
                output = model(*args, **kwargs)
        except Exception as error:  # the model is the user's
            raised = error
    return Watched(recording.trace, watching.found, named_tensors(output), raised)


class Watches:
    """The models of a comparison, each watched in float64 once, when that is first asked for.

    `doubles` are their parameters in float64, `known` what their costly operations gave in it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.doubles: Doubles = {}
        self.known = KnownResults()
        self._watched: dict[int, Watched] = {}

    def of(self, runnable: Runnable) -> Watched:
        """The run of a model, which is there as long as we are."""
        key = id(runnable)
        if key not in self._watched:
            self._watched[key] = watch(runnable, self.seed, self.doubles, self.known)
        return self._watched[key]

    def in_parts(self, runnable: Runnable, parts_of: PartsOf, *, in_double: bool) -> Watched:
        """The run of a model, with what parts of its tensors hold."""
        known = self.known if in_double else None
        return watch(runnable, self.seed, self.doubles if in_double else None, known, parts_of)


def in_double(model: nn.Module, args: Any, kwargs: Any, doubles: Doubles) -> tuple[nn.Module, Any, Any]:
    """A light copy and its arguments in float64; what the `doubles` have of its parameters is taken from there."""
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter and parameter.is_floating_point() and parameter.layout is torch.strided:
            # A convolution over all there is has the numbers of a linear layer, in another shape.
            is_flat = parameter.is_contiguous()
            form = (parameter.numel(),) if is_flat else (parameter.shape, parameter.stride())
            key = parameter.data_ptr(), parameter.dtype, *form
            if not key[0]:
                continue
            if key not in doubles:
                doubles[key] = parameter.detach().double()
            parameter.data = doubles[key].view(parameter.shape) if is_flat else doubles[key]
    args, kwargs = _pytree.tree_map(
        lambda leaf: leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, (args, kwargs)
    )
    return model.double(), args, kwargs


@contextlib.contextmanager
def not_fused() -> Iterator[None]:
    """Have torch's encoder layers and attention run the modules that they are made of."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
