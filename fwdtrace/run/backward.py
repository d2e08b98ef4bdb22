"""Run backward from a model's output: from the sum of it, or from a loss of the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.recorder.describe import tensors_of

Loss = Callable[[Any], Tensor]
"""From what the model returns to a tensor with one element."""


def run_backward(model: nn.Module, output: Any, loss: Loss | None = None) -> None:
    """Let gradients flow back from `loss(output)`, or from the sum of all floating-point tensors of the output.

    FwdtraceError if there is nothing to flow back from; what a loss of the user's raises is passed on.
    """
    name = type(model).__name__
    value = _sum(output, name) if loss is None else loss(output)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise FwdtraceError(f"the loss gave {found} for the output of {name}; backward takes a tensor with one element")
    if not value.requires_grad:
        raise FwdtraceError(
            f"{'the output' if loss is None else 'the loss'} of {name} does not require a gradient{_WHY}"
        )
    value.backward()  # type: ignore[no-untyped-call]


_WHY = "; all its parameters may be frozen, or it ran under no_grad or was detached"


def _sum(output: Any, name: str) -> Tensor:
    """The sum of every tensor in the output that can have a gradient; complex ones count by their absolute values."""
    numbers = [tensor for tensor in tensors_of(output) if tensor.is_floating_point() or tensor.is_complex()]
    if not numbers:
        raise FwdtraceError(f"no floating-point tensor is in the output of {name}; name a loss of your own")
    wanted = [tensor for tensor in numbers if tensor.requires_grad] or numbers[:1]
    sums = [(tensor.abs() if tensor.is_complex() else tensor).float().sum() for tensor in wanted]
    return torch.stack([each.to(sums[0].device) for each in sums]).sum()
