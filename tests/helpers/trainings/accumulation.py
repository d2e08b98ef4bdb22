"""Gradients of four small batches in one step of the optimizer; it is the second of them that goes wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps


class Net(nn.Module):
    """Layers with dropout, and a scale that is a part of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.2), nn.GELU(), nn.Linear(16, 2))

    def forward(self, x: Tensor, scale: Tensor, count: Tensor) -> Tensor:
        """Counts come as their square roots."""
        h = self.layers(x) / scale  # forward
        rate = (h * count[:, None]).square().sum(1).sqrt()  # backward
        return h + rate[:, None]


def main() -> None:
    """Train it."""
    options = arguments()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step, wrong in steps(options):
        total = 0.0
        for part in range(4):
            x, y, scale, count = torch.randn(4, 6), torch.randn(4, 2), torch.ones(4, 1), torch.ones(4)
            if wrong == "forward" and part == 1:
                scale[2] = 0
            if wrong == "backward" and part == 1:
                count[2] = 0
            loss = nn.functional.mse_loss(model(x, scale, count), y) / 4
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        report(step, total, model)


if __name__ == "__main__":
    main()
