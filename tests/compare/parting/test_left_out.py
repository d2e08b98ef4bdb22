"""What a port leaves out or turns around is said in words, with its line, where no operation of the port is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.run.two import TwoRunsPlan, compare_two


class First(nn.Module):
    """Attention with heads inside, windows that are rolled, and queries that depend on no input."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.up = (nn.Linear(8, 8) for _ in range(4))
        self.norm, self.last = nn.LayerNorm(8), nn.RMSNorm(8, 1e-6)
        self.queries, self.ask = nn.Parameter(torch.randn(3, 8)), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x + functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        x = self.norm(x).roll(1, 1)
        x = self.last(x + self.up(x).tanh())
        asked = functional.gelu(self.ask(self.queries))
        return asked @ x.transpose(1, 2)


class OwnNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


class Second(nn.Module):
    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.wq, self.wk, self.wv, self.wide = (nn.Linear(8, 8) for _ in range(4))
        self.n1, self.n2 = nn.LayerNorm(8), OwnNorm()
        self.learned, self.to_learned = nn.Parameter(torch.randn(3, 8)), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.wq(x), self.wk(x), self.wv(x)
        scores = (k @ q.mT if self.bug == "swapped" else q @ k.mT) / 8**0.5  # swapped
        x = x + scores.softmax(-1) @ v
        x = self.n1(x)  # roll
        x = x if self.bug == "roll" else x.roll(1, 1)
        y = self.wide(x).tanh()  # residual
        x = self.n2(y if self.bug == "residual" else x + y)
        asked = self.to_learned(self.learned)
        asked = asked.relu() if self.bug == "constant" else functional.gelu(asked)  # constant
        return asked @ x.mT


SAID = {
    "swapped": "its operands are swapped, Linear at",
    "roll": "Tensor.roll at test_left_out.py:26 is left out",
    "residual": "+ at test_left_out.py:27 is left out between",
    "constant": "its operand 1 is of Tensor.relu at",
}


@pytest.mark.parametrize("bug", ["", *SAID])
def test_what_a_port_leaves_out_or_turns_around_is_said(bug: str) -> None:
    specs = [f"{__name__}:First", f"{__name__}:Second({bug!r})"]
    found = compare_two(TwoRunsPlan(*specs, inputs=("2x6x8",), same_init=True)).comparison
    assert found.equal == (not bug), found.verdict
    if bug:
        lines = Path(__file__).read_text(encoding="utf-8").splitlines()
        marked = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {bug}"))
        assert SAID[bug] in found.verdict, found.verdict
        assert f"test_left_out.py:{marked}" in found.verdict, found.verdict
