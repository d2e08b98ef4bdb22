"""LeNet written in other ways: with a direct call, with functions in place of modules, and with a wrong size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwdtrace.models.zoo.lenet import LeNet


class LeNetDirect(LeNet):
    """LeNet with `self.f5.forward(x)` in place of `self.f5(x)`: the hook on `f5` does not fire."""

    def __init__(self) -> None:
        super().__init__()
        self.features: list[Tensor] = []
        self.f5.register_forward_hook(self.keep_features)

    def keep_features(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.features.append(output.detach())

    def forward(self, x: Tensor) -> Tensor:
        x = self.sig(self.c1(x))
        x = self.s2(x)
        x = self.sig(self.c3(x))
        x = self.s2(x)
        x = self.flatten(x)
        x = self.f5.forward(x)
        x = self.f6(x)
        x = self.f7(x)
        return x


class LeNetFunctional(nn.Module):
    """LeNet whose activations, pooling and flattening are functions, with a skip connection around `f6`."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.f5 = nn.Linear(16 * 5 * 5, 84)
        self.f6 = nn.Linear(84, 84)
        self.f7 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c3(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.f5(x))
        x = x + self.f6(x)
        out: Tensor = self.f7(x)
        return out


class LeNetBroken(LeNet):
    """LeNet whose `f5` is sized for a 4×4 picture: it wants 256 features and gets 400 = 16·5·5."""

    def __init__(self) -> None:
        super().__init__()
        self.f5 = nn.Linear(16 * 4 * 4, 120)
