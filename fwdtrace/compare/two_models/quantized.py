"""The quantized weights of the second model against those of the first: within a step of the grid each, or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwdtrace.compare.comparison import Origin
from fwdtrace.trace import Call

_HALF = 0.51
"""The nearest point of the grid is at most half a step away."""
_BY_TENSOR = (torch.per_tensor_affine, torch.per_tensor_symmetric)


@dataclass(frozen=True)
class Quantized:
    """How many weights are quantized, and the first module whose weight is further away than rounding to the grid."""

    weights: int
    further: Origin | None

    @property
    def note(self) -> str:
        """What was found, in words."""
        are = "weight of the second is" if self.weights == 1 else "weights of the second are"
        where = "not all" if self.further is not None else "each"
        return f"{self.weights} {are} quantized, {where} to the nearest step of what the first has"


def quantized_weights(pairs: Iterable[tuple[Call, Call, nn.Module, nn.Module]]) -> Quantized | None:
    """What is quantized in the second alone, of calls that belong together with their modules; None if nothing is."""
    count, further = 0, None
    for call, other, module, quantized in pairs:
        steps = _steps_apart(module, quantized)
        if steps is None or call.nth > 1:
            continue
        count += 1
        if steps > _HALF and further is None:
            why = f"weight differs by up to {steps:.2g} steps of the grid that it was quantized to"
            path = other.path if other.path != call.path else None
            further = Origin(call.path, 1, call.class_name, path, why=(why,), site=other.site, first_site=call.site)
    return Quantized(count, further) if count else None


def _steps_apart(module: nn.Module, quantized: nn.Module) -> float | None:
    """How far the weights of two modules are apart, in steps; None if the second has no quantized one of that shape."""
    one, weight = getattr(module, "weight", None), getattr(quantized, "weight", None)
    other = weight() if callable(weight) and not isinstance(weight, Tensor) else weight
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.is_quantized or not other.is_quantized:
        return None
    if one.shape != other.shape:
        return None
    apart = (one.detach() - other.dequantize()).abs()
    if other.qscheme() in _BY_TENSOR:
        return float(apart.max()) / other.q_scale()
    shape = [-1 if place == other.q_per_channel_axis() else 1 for place in range(apart.dim())]
    return float((apart / other.q_per_channel_scales().to(apart).reshape(shape)).max())
