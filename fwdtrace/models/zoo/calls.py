"""Small models for the ways in which one module runs another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Shared(nn.Module):
    """One layer called three times, and known under a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(16, 16)
        self.decode = self.encode
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.encode(x))
        x = self.act(self.encode(x))
        out: Tensor = self.decode(x)
        return out


class Unregistered(nn.Module):
    """Layers in a plain list: they run, but `parameters()`, `state_dict()` and `.to()` never see them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)]
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.head(x)
        return out


class Scaled(nn.Linear):
    """A linear layer that scales what its base class computes."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class SuperForward(nn.Module):
    """A layer whose `forward` runs `super().forward(x)`: one call of one layer, and no direct call."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled = Scaled(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scaled(x)
        return out


class HalfPrecision(nn.Module):
    """A layer that does its work in `__call__`: it runs in bfloat16, unless `forward` is run directly."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().__call__(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class CallOverride(nn.Module):
    """A layer with a `__call__` of its own, called and run directly: bfloat16 first, float32 then."""

    def __init__(self) -> None:
        super().__init__()
        self.cast = HalfPrecision()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cast(x), self.cast.forward(x)


class Caught(nn.Module):
    """A layer that rejects its input, and a model that catches the error and goes another way."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Linear(8, 4)
        self.wide = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        try:
            out: Tensor = self.narrow(x)
        except RuntimeError:
            out = self.wide(x)
        return out
