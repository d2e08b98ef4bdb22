"""What a call may change in a model and its arguments, put back after the call has been run again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.measures.values import has_values
from fwdtrace.recorder.torch_internals import Unseen, part_here, versions_kept, without_hooks_on_gradients


@contextlib.contextmanager
def state_kept(model: nn.Module, more: Sequence[Tensor] = ()) -> Iterator[list[Tensor]]:
    """Put back afterwards what a call may change: parameters, buffers, gradients, attributes, and `more` tensors.

    The list has those into which something was written, when that has been put back.
    """
    attributes = [(module, dict(module.__dict__), _contents(module.__dict__)) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        tensors = [*model.parameters(), *model.buffers(), *more]
        with numbers_kept(tensors) as written, without_hooks_on_gradients(model.parameters()):
            yield written
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, before, contents in attributes:
            for name in [name for name in module.__dict__ if name not in before]:
                del module.__dict__[name]
            module.__dict__.update(before)
            for container, items in contents:
                _refill(container, items)


def _contents(attributes: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The plain containers among the attributes of a module, and what is in them."""
    return [(value, value.copy()) for value in attributes.values() if type(value) in (list, dict, set)]


def _refill(container: Any, items: Any) -> None:
    """Have the same objects in a container as before, if there are others now."""
    if [*map(id, container)] == [*map(id, items)] and (
        type(container) is not dict or [*map(id, container.values())] == [*map(id, items.values())]
    ):
        return
    container.clear()
    if isinstance(container, list):
        container.extend(items)
    else:
        container.update(items)


@contextlib.contextmanager
def numbers_kept(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Put the numbers in these tensors back afterwards; the list then has those that were others.

    Autograd is not to know that they were written: the program's own backward may still need them. The copies are in
    the memory of the host, as that of the device may be full.
    """
    written: list[Tensor] = []
    parts = [part_here(tensor) for tensor in tensors]
    with Unseen():
        before = [(part, part.data, _copy(part)) for part in parts if has_values(part)]
    with versions_kept(parts):
        try:
            yield written
        finally:
            with Unseen():
                written += [part for part, data, copy in before if _put_back(part, data, copy)]


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _put_back(tensor: Tensor, data: Tensor, copy: Tensor) -> bool:
    """Whether the tensor has other numbers now; it then has those of the copy again, in the memory that it had."""
    is_plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided
    moved = is_plain and (tensor.data_ptr(), tensor.shape) != (data.data_ptr(), data.shape)
    if moved:  # something was assigned to its `data`
        tensor.data = data
    with contextlib.suppress(RuntimeError, NotImplementedError):  # a kind of tensor that does not compare
        if torch.equal(tensor.detach().cpu(), copy):
            return moved
    with torch.inference_mode(tensor.is_inference()):
        tensor.detach().copy_(copy)
    return True
