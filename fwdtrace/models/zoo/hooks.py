"""Small models with hooks, which `__call__` runs around `forward`: what they do, and what is lost without them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


def log_inputs(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Do nothing: a hook that only looks."""


def clamp_output(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Replace the output by its positive part."""
    return output.clamp(min=0)


class Hooked(nn.Module):
    """A pre-hook on the model, which only looks, and a hook on `first`, which replaces its output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 2)
        self.register_forward_pre_hook(log_inputs)
        self.first.register_forward_hook(clamp_output)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return out


class StaleWeight(nn.Module):
    """A weight-normed layer whose magnitude was doubled after it was built, as a loaded checkpoint would do.

    The weight is recomputed in a pre-hook. A call therefore sees the new magnitude, `.forward(x)` still the old one.
    """

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():  # the old weight_norm is deprecated, for reasons such as this one
            warnings.simplefilter("ignore", FutureWarning)
            self.normed: nn.Linear = nn.utils.weight_norm(nn.Linear(16, 4))
        with torch.no_grad():
            self.normed.get_parameter("weight_g").mul_(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        direct = self.normed.forward(x)
        return direct, self.normed(x)
