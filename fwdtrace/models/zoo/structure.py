"""Small models with structure: equal blocks in a row, and inputs and outputs of several tensors."""

from __future__ import annotations

from torch import Tensor, nn


class Block(nn.Module):
    """A residual block of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(16, 64)
        self.act = nn.GELU()
        self.down = nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.down(self.act(self.up(x)))
        return out


class Blocks(nn.Module):
    """Equal blocks in a row, `depth` of them."""

    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(depth))
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out


class Statistics(nn.Module):
    """The mean of the pixels under the mask, and how many there are."""

    def forward(self, features: Tensor, *, mask: Tensor) -> tuple[Tensor, int]:
        kept = features * mask.unsqueeze(1)
        return kept.mean(dim=(2, 3)), int(mask.sum())


class Nested(nn.Module):
    """Inputs by keyword, and a dict of tensors and tuples as the result."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.statistics = Statistics()

    def forward(self, *, image: Tensor, mask: Tensor, scale: float = 1.0) -> dict[str, object]:
        features = self.features(image * scale)
        return {"features": features, "statistics": self.statistics(features, mask=mask)}
