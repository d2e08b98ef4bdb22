"""Lively weights: those of a trained size in place of freshly drawn ones, under which a fault may not show."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fwdtrace.compare.weights.quick_draws import FEW, in_parts, is_large

_SCALES = ("weight", "gamma", "scale", "lambda", "layer_scale", "layerscale", "g")
_ENOUGH = 10_007
_OUT_OF_RANGE = 8
"""One of so many channels of a batch norm is drawn around `_FAR`."""
_FAR = 6.0
_STATISTICS = {"running_mean": False, "running_var": True}


def draw_lively(model: nn.Module, seed: int) -> None:
    """Draw scales away from 1, biases and statistics away from 0 and 1, and matrices by what goes into each output.

    Drawn from a generator of its own. A matrix that is large enough as it is stays, and so does every other buffer.
    Some channels of a batch norm leave the range in which a ReLU6 or a hard swish is like others.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not is_lazy(parameter) and _can_be_drawn(parameter):
                _draw(name, parameter, generator)
        for name, buffer in model.named_buffers():
            last = name.rpartition(".")[2]
            if last in _STATISTICS and _can_be_drawn(buffer):
                _draw_flat(buffer, generator, around_one=_STATISTICS[last])
        for module in model.modules():
            bias = getattr(module, "bias", None) if hasattr(module, "running_mean") else None
            if isinstance(bias, Tensor) and _can_be_drawn(bias) and len(bias) >= _OUT_OF_RANGE:
                bias[::_OUT_OF_RANGE].add_(_FAR)


def _can_be_drawn(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not tensor.is_meta and tensor.layout is torch.strided and tensor.numel() > 0


def _draw(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    if parameter.numel() == max(parameter.shape, default=1):
        last = name.rpartition(".")[2].lower()
        is_scale = last in _SCALES or last.startswith("weight_g") or "layer_scale" in name or "layerscale" in name
        _draw_flat(parameter, generator, around_one=is_scale)
        return
    size = (parameter.numel() / len(parameter)) ** -0.5
    if float(_some_of(parameter).float().std()) < 0.5 * size:
        noise = _noise(parameter, generator) if not is_large(parameter) else _noise(parameter.new_empty(FEW), generator)
        for part, numbers in in_parts(parameter, noise) if is_large(parameter) else [(parameter, noise)]:
            part.add_(numbers, alpha=0.7 * size)


def _some_of(tensor: Tensor) -> Tensor:
    """Elements from all over a tensor, few enough to be looked at in no time."""
    return tensor.detach().reshape(-1)[:: max(1, tensor.numel() // _ENOUGH)]


def _draw_flat(tensor: Tensor, generator: torch.Generator, *, around_one: bool) -> None:
    noise = _noise(tensor, generator)
    tensor.copy_(0.75 + 0.3 * noise.abs() if around_one else 0.2 * noise)


def _noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=generator).to(tensor)
