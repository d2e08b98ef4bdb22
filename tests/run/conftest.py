"""Small models in a file of the current folder, for tests that compare two runs."""

from __future__ import annotations

from pathlib import Path

import pytest

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, bias=0.0):
        super().__init__()
        self.inp = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4, 2)
        nn.init.eye_(self.inp.weight)
        nn.init.ones_(self.out.weight)
        nn.init.constant_(self.inp.bias, bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x):
        return self.out(self.drop(self.inp(x)))


class Mixes(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.inp(x))


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x))
"""


@pytest.fixture
def nets(folder: Path) -> Path:
    """The current folder with nets.py, which holds the models, and x.pt, which holds an input for them."""
    import torch

    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    torch.save(torch.ones(1, 4), folder / "x.pt")
    return folder
