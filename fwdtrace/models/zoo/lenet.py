"""LeNet: the model that `fwdtrace run` shows if none is named."""

from __future__ import annotations

from torch import Tensor, nn


class LeNet(nn.Module):
    """Ten calls of eight layers: `sig` and `s2` run twice each."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 6, 5)
        self.s2 = nn.MaxPool2d(2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.flatten = nn.Flatten()
        self.f5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.f7 = nn.Linear(84, 10)
        self.sig = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x = self.sig(self.c1(x))
        x = self.s2(x)
        x = self.sig(self.c3(x))
        x = self.s2(x)
        x = self.flatten(x)
        x = self.f5(x)
        x = self.f6(x)
        x = self.f7(x)
        return x
