"""A convolutional network with BatchNorm and dropout, and a validation call now and then."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps


class Net(nn.Module):
    """Images that are scaled to the same deviation, and features that are scaled by their length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        """`shown` is 0 where an image is to be left out."""
        x = x - x.mean((1, 2, 3), keepdim=True)
        x = x / x.std((1, 2, 3), keepdim=True)  # forward
        h = self.drop(self.norm(self.conv(x)).relu())
        h = h.mean((2, 3)) * shown[:, None]
        length = h.square().sum(1, keepdim=True).sqrt()  # backward
        return self.head(h / (length + 1))  # type: ignore[no-any-return]


def main() -> None:
    """Train it."""
    options = arguments()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step, wrong in steps(options):
        x, y, shown = torch.rand(8, 3, 10, 10), torch.randint(0, 4, (8,)), torch.ones(8)
        if wrong == "forward":
            x[3] = 0.5
        if wrong == "backward":
            shown[3] = 0
        if step % 10 == 0:
            with torch.no_grad():
                model.eval()(torch.rand(2, 3, 10, 10), torch.ones(2))
            model.train()
        loss = nn.functional.cross_entropy(model(x, shown), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss, model)


if __name__ == "__main__":
    main()
