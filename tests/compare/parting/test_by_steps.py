"""Where two models compute one thing in other ways and part there, nothing is said that would lead a person astray."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.run.two import TwoRunsPlan, compare_two


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x.tanh(), 0.005, -20, -128, 127)


class RoundedByHand(nn.Module):
    def __init__(self, bug: bool = False) -> None:
        super().__init__()
        self.bug = bug

    def forward(self, x: Tensor) -> Tensor:
        x = x.tanh() * (1 / torch.tensor(0.005))
        x = (x.trunc() if self.bug else x.round()) - 20
        return (x.clamp(-128, 127) + 20) * 0.005


class Padded(nn.Module):
    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        labels = functional.pad(labels, (0, 1), value=-100)[..., 1:].contiguous()
        return functional.cross_entropy(scores.flatten(0, 1), labels.view(-1), ignore_index=-100)


class Sliced(nn.Module):
    def __init__(self, bug: bool = False) -> None:
        super().__init__()
        self.bug = bug

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        each = functional.cross_entropy(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
        return each.view(len(labels), -1).sum(1).mean() if self.bug else each.mean()


class Asked(nn.Module):
    """Queries ask themselves before they ask the input, in a decoder's first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.scores = nn.Parameter(torch.randn(1, 3, 8)), nn.Linear(8, 8)
        self.own, self.cross = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.norm, self.last = nn.LayerNorm(8), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries.expand(len(x), -1, -1)
        first = torch.zeros_like(queries)
        y = self.norm(self.own(first + queries, first + queries, first)[0])
        return self.scores(self.last(y + self.cross(y + queries, x, x)[0]))  # type: ignore[no-any-return]


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (each.unflatten(-1, (2, 4)).transpose(1, 2) for each in (self.q(q), self.k(k), self.v(v)))
        y = (q @ k.mT / 2).softmax(-1) @ v
        return self.o(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class AskedByHand(nn.Module):
    def __init__(self, bug: bool = False) -> None:
        super().__init__()
        self.bug = bug
        self.query, self.a, self.b = nn.Parameter(torch.randn(1, 3, 8)), Heads(), Heads()
        self.n1, self.n2, self.out = nn.LayerNorm(8), nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.query.expand(len(x), -1, -1)
        first = torch.zeros_like(queries)
        y = self.n1(self.a(first + queries, first + queries, first + queries if self.bug else first))
        return self.out(self.n2(y + self.b(y + queries, x, x)))  # type: ignore[no-any-return]


PAIRS = {
    "RoundedByHand": ("Rounded", ("2x8",)),
    "Sliced": ("Padded", ("scores=2x5x7", "labels=2x5:int64:0..7")),
    "AskedByHand": ("Asked", ("2x5x8",)),
}
"""By the second model the first, and what both are called with."""
SAID = {
    "RoundedByHand": "torch.fake_quantize_per_tensor_affine became *, test_by_steps.py:25",
    "Sliced": "F.cross_entropy(reduction='mean' became 'none')",
    "AskedByHand": "MultiheadAttention became Linear, test_by_steps.py:",
}
MISLEADING = ("is new", "is left out", "settings", "is only in", "not moved")


def compared(second: str, bug: bool) -> TraceComparison:
    first, inputs = PAIRS[second]
    specs = [f"{__name__}:{first}", f"{__name__}:{second}(bug={bug})"]
    return compare_two(TwoRunsPlan(*specs, inputs=inputs, same_init=True)).comparison


@pytest.mark.parametrize("second", PAIRS)
def test_what_one_does_in_another_way_is_not_held_against_it(second: str) -> None:
    assert compared(second, bug=False).equal
    found = compared(second, bug=True)
    assert SAID[second] in found.verdict, found.verdict
    assert [words for words in MISLEADING if words in found.verdict] == []


def test_the_weights_of_an_attention_that_is_given_another_tensor_come_of_their_own_parts() -> None:
    found = compared("AskedByHand", bug=True)
    assert found.weights is not None
    came_of = {move.target: move.pieces[0] for move in found.weights.moves}
    assert {name: (came_of[f"a.{name}.weight"].name, came_of[f"a.{name}.weight"].start) for name in "qkvo"} == {
        "q": ("own.in_proj_weight", 0),
        "k": ("own.in_proj_weight", 8),
        "v": ("own.in_proj_weight", 16),
        "o": ("own.out_proj.weight", None),
    }
