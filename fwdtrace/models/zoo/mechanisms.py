"""Small models with one mechanism each that acts in `__call__` and not in `forward`, to compare the two."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn


def look(module: nn.Module, *_: Any) -> None:
    """Do nothing: a hook that only looks."""


def hundredfold(module: nn.Module, into: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Multiply the gradient of the module's input by 100."""
    return tuple(100 * gradient for gradient in into)


class Layers(nn.Module):
    """Two linear layers with a ReLU between them, `first` and `second`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.act = nn.ReLU()
        self.second = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.act(self.first(x)))
        return out


class EveryHook(Layers):
    """A hook of each kind that a module can have, all of which only look."""

    def __init__(self) -> None:
        super().__init__()
        self.register_forward_pre_hook(look)
        self.register_forward_hook(look)
        self.register_forward_hook(look, always_call=True)
        self.register_full_backward_pre_hook(look)
        self.register_full_backward_hook(look)


class GradientHook(Layers):
    """A full backward hook that makes the gradient of the input a hundred times as large."""

    def __init__(self) -> None:
        super().__init__()
        self.register_full_backward_hook(hundredfold)


def weight_norm() -> nn.Module:
    """A layer under the old weight_norm, which computes the weight in a pre-hook."""
    with warnings.catch_warnings():  # deprecated, for reasons that the comparison shows
        warnings.simplefilter("ignore", FutureWarning)
        layer: nn.Module = nn.utils.weight_norm(nn.Linear(16, 4))
    return layer


def spectral_norm() -> nn.Module:
    """A layer under the old spectral_norm, which computes the weight in a pre-hook."""
    return nn.utils.spectral_norm(nn.Linear(16, 4))


def pruned() -> nn.Module:
    """A pruned layer, whose mask is applied in a pre-hook."""
    from torch.nn.utils import prune

    layer: nn.Module = prune.l1_unstructured(nn.Linear(16, 4), "weight", amount=0.5)  # type: ignore[no-untyped-call]
    return layer


def lazy() -> nn.Module:
    """A lazy layer, which learns its size in a pre-hook of the first call."""
    return nn.LazyLinear(4)


def checkpointed() -> nn.Module:
    """A model under the composable checkpoint, which forgets its activations by hooks."""
    from torch.distributed._composable.checkpoint_activation import checkpoint

    model: nn.Module = checkpoint(Layers())
    return model


def observed() -> nn.Module:
    """A model prepared for quantization, whose layers are observed by hooks."""
    from torch.ao import quantization

    model = Layers().eval()
    model.qconfig = quantization.default_qconfig  # type: ignore[assignment]
    return _prepared(quantization.prepare, model)


def fake_quantized() -> nn.Module:
    """A model in quantization-aware training, whose layers' outputs are quantized by hooks."""
    from torch.ao import quantization

    model = Layers().train()
    model.qconfig = quantization.default_qat_qconfig  # type: ignore[assignment]
    return _prepared(quantization.prepare_qat, model)


def compiled() -> nn.Module:
    """A model compiled in place: its `__call__` runs the compiled code, its `forward` does not."""
    model = Layers()
    model.compile(backend="eager")
    return model


class Parametrized(nn.Module):
    """The new weight_norm, spectral_norm and orthogonal, which are parametrizations and need no `__call__`."""

    def __init__(self) -> None:
        super().__init__()
        parametrizations = torch.nn.utils.parametrizations
        self.weight_norm = parametrizations.weight_norm(nn.Linear(16, 16))
        self.spectral_norm = parametrizations.spectral_norm(nn.Linear(16, 16))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.orthogonal(self.spectral_norm(self.weight_norm(x)))
        return out


def _prepared(prepare: Any, model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():  # deprecated in favour of torchao, but still in use
        warnings.simplefilter("ignore")
        prepared: nn.Module = prepare(model)
    return prepared
