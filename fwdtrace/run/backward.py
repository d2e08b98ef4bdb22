"""Run backward from what a model returned: from the sum of its tensors, or from a loss of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import frame_role

Loss = Callable[[Any], Tensor]
"""A function from what the model returns to a tensor with one element."""

_WHY_NO_GRADIENT = "; all its parameters may be frozen, or it ran under no_grad or was detached"


def run_backward(model: nn.Module, output: Any, loss: Loss | None = None) -> None:
    """Run backward from `loss(output)`, or from the sum of all floating-point tensors of the output.

    FwdtraceError if there is no tensor to start from; what the loss itself raises is passed on.
    """
    name = type(model).__name__
    value = _sum(output, name) if loss is None else loss(output)
    if not isinstance(value, Tensor) or value.numel() != 1:
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise FwdtraceError(f"the loss gave {given} for the output of {name}; backward takes a tensor with one element")
    if not value.requires_grad:
        start = "the output" if loss is None else "the loss"
        raise FwdtraceError(f"{start} of {name} does not require a gradient{_WHY_NO_GRADIENT}")
    value.backward()  # type: ignore[no-untyped-call]


def run_backward_from(output: Any, gradients: Sequence[Tensor | None]) -> None:
    """Run backward from the tensors of the output to which these gradients had come."""
    pairs = [
        (tensor, gradient.to(tensor.device, tensor.dtype))
        for tensor, gradient in zip(tensors_of(output), gradients, strict=False)
        if gradient is not None and tensor.grad_fn is not None
    ]
    torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])


def as_module(loss: Loss) -> nn.Module:
    """The loss as a module, named as it is, so that its calls can be recorded."""
    if isinstance(loss, nn.Module):
        return loss

    @frame_role("stand-in")
    def forward(module: nn.Module, output: Any) -> Tensor:
        return loss(output)

    name = getattr(loss, "__name__", type(loss).__name__)
    module: nn.Module = type(name, (nn.Module,), {"forward": forward, "__module__": __name__})()
    return module


def _sum(output: Any, name: str) -> Tensor:
    """The sum of every tensor in the output that can have a gradient; complex numbers count by their absolute value."""
    numbers = [tensor for tensor in tensors_of(output) if tensor.is_floating_point() or tensor.is_complex()]
    if not numbers:
        raise FwdtraceError(f"no floating-point tensor is in the output of {name}; name a loss of your own")
    with_gradient = [tensor for tensor in numbers if tensor.requires_grad] or numbers[:1]
    sums = [(tensor.abs() if tensor.is_complex() else tensor).float().sum() for tensor in with_gradient]
    return torch.stack([part.to(sums[0].device) for part in sums]).sum()
