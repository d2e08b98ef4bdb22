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

from fwdtrace.compare.light_copy import light_copy
from fwdtrace.compare.steps import Steps, Watch
from fwdtrace.models.randomness import seed_all
from fwdtrace.recorder import Options, Recording
from fwdtrace.trace import Trace


@dataclass(frozen=True)
class Watched:
    """The trace and the steps of a run, the tensors that it gave, and what it raised, if anything."""

    trace: Trace
    steps: Steps
    outputs: tuple[Tensor, ...]
    error: Exception | None


def watch(model: nn.Module, args: Any, kwargs: Any, seed: int, *, double: bool) -> Watched:
    """Run a copy of the model and note its steps; with `double`, all its floating numbers are float64.

    Attention is computed by the operations that it is made of, and torch's fused layers are not fused, so that what
    happens inside them is seen.
    """
    model, args, kwargs = light_copy(model, args, kwargs)
    if double:
        model = model.double()
        args, kwargs = _pytree.tree_map(in_double, (args, kwargs))
    watching = Watch(model)
    recording = Recording(model, Options(ops=True, keeper=watching), None, seed)
    seed_all(seed)
    raised, output = None, None
    with torch.no_grad(), not_fused(), sdpa_kernel(SDPBackend.MATH):
        try:
            with recording, watching:
                output = model(*args, **kwargs)
        except Exception as error:  # the model is the user's
            raised = error
    outputs = tuple(leaf for leaf in _pytree.tree_leaves(output) if isinstance(leaf, Tensor))
    return Watched(recording.trace, watching.found, outputs, raised)


def in_double(value: Any) -> Any:
    """A floating tensor in float64, anything else as it is."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


@contextlib.contextmanager
def not_fused() -> Iterator[None]:
    """Have torch's encoder layers and attention run the modules that they are made of."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
