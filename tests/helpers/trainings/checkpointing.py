"""Blocks with dropout whose activations are not kept: backward runs them again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.helpers.trainings.common import arguments, report, steps


class Block(nn.Module):
    """A layer beside what it is given, scaled by its length."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor, whole: Tensor, shown: Tensor) -> Tensor:
        """`whole` is what x is a part of; `shown` is 0 where a row is to be left out."""
        h = self.drop(self.layer(x).tanh())
        h = (x + h) / whole  # forward
        length = (h * shown).square().sum(-1, keepdim=True).sqrt()  # backward
        return h / (length + 1)


class Net(nn.Module):
    """Three blocks, the first two of which keep nothing for backward."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.reentrant = reentrant

    def forward(self, x: Tensor, whole: Tensor, shown: Tensor) -> Tensor:
        """All blocks but the last are run again in backward."""
        for block in self.blocks[:-1]:
            x = checkpoint(block, x, whole, shown, use_reentrant=self.reentrant)
        return self.blocks[-1](x, torch.ones(8, 1), torch.ones(8, 1))  # type: ignore[no-any-return]


def main() -> None:
    """Train it."""
    options = arguments(reentrant="")
    model = Net(bool(options.reentrant))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step, wrong in steps(options):
        x, whole, shown = torch.randn(8, 8), torch.ones(8, 1), torch.ones(8, 1)
        if wrong == "forward":
            whole[2] = 0
        if wrong == "backward":
            shown[2] = 0
        loss = model(x.requires_grad_(bool(options.reentrant)), whole, shown).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss, model)


if __name__ == "__main__":
    main()
