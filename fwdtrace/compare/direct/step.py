"""One step of an experiment: run the model forward and backward once and keep all that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fwdtrace.compare.direct.leaves import copied, named_leaves
from fwdtrace.compare.numbers.tensors import dense, local
from fwdtrace.models.randomness import RandomState, random_state
from fwdtrace.recorder.measures.keeper import digest_of

LEARNING_RATE = 0.01


@dataclass(frozen=True)
class StepError:
    """An exception that ended a step, and whether it came from `forward` or `backward`."""

    where: str
    type: str
    message: str


@dataclass(frozen=True)
class Snapshot:
    """What one step left; a gradient that does not exist is None.

    `random` are the random states after it, and `drew` says whether they moved. `graph` has the names of the nodes of
    the autograd graph. `training` says which modules changed their training flag. `on_all_ranks` says for each
    parameter whether all processes have the same gradient of it.
    """

    random: RandomState
    drew: bool
    raised: StepError | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    grad_fn: str = "none"
    graph: tuple[str, ...] = ()
    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    input_gradients: dict[str, Tensor | None] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)
    training: str = "unchanged"
    on_all_ranks: dict[str, bool] = field(default_factory=dict)


def step(model: nn.Module, entry: Callable[..., Any], args: Any, kwargs: Any, *, input_gradients: bool) -> Snapshot:
    """Forward and backward once, from random output gradients that are always the same."""
    start = random_state()
    args, kwargs = copied((args, kwargs), with_gradients=input_gradients)
    model.zero_grad(set_to_none=True)
    modes = {name: module.training for name, module in model.named_modules()}
    raised = None
    where = "forward"
    outputs: dict[str, Any] = {}
    try:
        outputs = dict(named_leaves(entry(*args, **kwargs)))
        where = "backward"
        graph = tuple(_graph(outputs))
        _backward(outputs)
    except Exception as error:  # the model is the user's and may raise anything: that it does is what we compare
        raised = StepError(where, type(error).__name__, str(error))
        graph = ()
    switched = [name for name, module in model.named_modules() if modes.get(name, module.training) != module.training]
    gradients = {name: _copy(parameter.grad) for name, parameter in model.named_parameters()}
    end = random_state()
    return Snapshot(
        end,
        not end.same_as(start),
        raised,
        _copies(outputs),
        next((type(leaf.grad_fn).__name__ for leaf in outputs.values() if _has_graph(leaf)), "none"),
        graph,
        gradients,
        {name: _copy(leaf.grad) for name, leaf in _inputs(args, kwargs) if _wants_gradient(leaf)},
        _buffers(model),
        f"changed in {', '.join(switched)}" if switched else "unchanged",
        _same_on_all_ranks(gradients),
    )


def forward_only(model: nn.Module, entry: Callable[..., Any], args: Any, kwargs: Any) -> Snapshot:
    """Forward once without gradients."""
    start = random_state()
    args, kwargs = copied((args, kwargs), with_gradients=False)
    outputs: dict[str, Any] = {}
    raised = None
    try:
        with torch.no_grad():
            outputs = dict(named_leaves(entry(*args, **kwargs)))
    except Exception as error:  # as above
        raised = StepError("forward", type(error).__name__, str(error))
    end = random_state()
    return Snapshot(end, not end.same_as(start), raised, _copies(outputs), buffers=_buffers(model))


@torch.no_grad()
def update_weights(model: nn.Module) -> None:
    """One SGD update with the gradients that are there."""
    for parameter in model.parameters():
        if parameter.grad is not None:  # torch.optim.SGD does the same, and takes seconds to import
            parameter.add_(parameter.grad, alpha=-LEARNING_RATE)


@torch.no_grad()
def change_weights(model: nn.Module) -> None:
    """Change every parameter in place, as loading a checkpoint does: by noise of its own size, always the same."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if is_lazy(parameter) or parameter.is_meta or not parameter.is_floating_point():
            continue
        held = local(parameter)
        size = max(float(held.abs().mean()), 0.1) if held.numel() else 0.1
        held.add_((torch.randn(held.shape, generator=generator) * size).to(held))


def _inputs(args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    yield from named_leaves(args, "args")
    yield from ((name.lstrip("."), leaf) for name, leaf in named_leaves(kwargs))


def _backward(outputs: dict[str, Any]) -> None:
    roots = [leaf for leaf in outputs.values() if _has_graph(leaf)]
    if not roots:
        return
    generator = torch.Generator().manual_seed(0)
    gradients = [_noise_like(root, generator) for root in roots]
    torch.autograd.backward(roots, gradients)


def _noise_like(root: Tensor, generator: torch.Generator) -> Tensor:
    if hasattr(root, "to_local"):
        return torch.ones_like(root)
    dtype = torch.complex64 if root.is_complex() else torch.float32
    return torch.randn(root.shape, dtype=dtype, generator=generator).to(root)


def _graph(outputs: dict[str, Any]) -> list[str]:
    """The names of all nodes of the autograd graph, breadth first from the outputs."""
    waiting = [leaf.grad_fn for leaf in outputs.values() if _has_graph(leaf)]
    seen = set(waiting)
    for node in waiting:
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                waiting.append(below)
    return [type(node).__name__ for node in waiting]


def _has_graph(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.grad_fn is not None


def _wants_gradient(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad and leaf.is_leaf


def _copies(leaves: dict[str, Any]) -> dict[str, Any]:
    return {name: _copy(leaf) if isinstance(leaf, Tensor) else leaf for name, leaf in leaves.items()}


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().clone() for name, buffer in model.named_buffers() if not is_lazy(buffer)}


def _same_on_all_ranks(gradients: dict[str, Tensor | None]) -> dict[str, bool]:
    """For each parameter that every process holds whole, whether its gradient is the same in all; {} with one."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return {}
    digests = {
        name: None if gradient is None else digest_of(dense(gradient))
        for name, gradient in gradients.items()
        if not hasattr(gradient, "to_local")
    }
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, digests)
    return {name: all(other.get(name) == digest for other in gathered) for name, digest in digests.items()}
