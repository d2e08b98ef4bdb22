"""Models that are false, or whose weights are computed, are watched like any other."""

from __future__ import annotations

import torch
from torch import nn

from fwdtrace.program.wanted import Wanted
from tests.program.test_watch import Net, X, told, watched


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    def __len__(self) -> int:
        return len(self.parts)


def test_a_model_that_is_false_is_kept_like_any_other() -> None:
    with watched(Wanted()) as kept:
        net = Parts()
        assert not net
        net(X)
    assert told(kept) == [("Parts", 1, [""])]


def test_a_weight_that_is_computed_is_no_call_of_the_model() -> None:
    class Double(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight * 2

    with watched(Wanted()) as kept:
        net = Net()
        nn.utils.parametrize.register_parametrization(net.encoder, "weight", Double())
        assert net.encoder.weight.shape == (3, 4)
        assert kept == []
        net(X)
    within = "encoder.parametrizations.weight"
    assert told(kept) == [("Net", 1, ["", "encoder", within, f"{within}.0", "decoder"])]
