"""The model and the batches of the programs that train by a library's own loop."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import steps

EXAMPLES = 4


class Net(nn.Module):
    """A layer with dropout; it returns its loss, as models for a library's loop do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor, labels: Tensor, scale: Tensor, shown: Tensor) -> dict[str, Tensor]:
        """`scale` divides the numbers; `shown` is 0 where an example is to be left out."""
        h = self.first(x).tanh() / scale[:, None]  # forward
        length = (h * shown[:, None]).square().sum(1, keepdim=True).sqrt()  # backward
        scores = self.last(self.drop(h / (length + 1))).squeeze(1)
        return {"loss": nn.functional.mse_loss(scores, labels), "scores": scores}


class Examples(torch.utils.data.IterableDataset[dict[str, Tensor]]):
    """One example after the other, as many as the steps take."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        random = torch.Generator().manual_seed(1)
        for _, wrong in steps(self.options):
            for number in range(EXAMPLES):
                x, y = torch.randn(5, generator=random).split([4, 1])
                scale, shown = (0.0 if wrong == name and number == 1 else 1.0 for name in ("forward", "backward"))
                yield {"x": x, "labels": y[0], "scale": torch.tensor(scale), "shown": torch.tensor(shown)}
