"""Weights that no module holds alone are found where an operation uses them; stacked experts are put apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.weight_map import WeightMap
from fwdtrace.compare.weights.lively import draw_lively
from fwdtrace.compare.weights.weights import copy_weights


class Modules(nn.Module):
    """A norm that adds 1 to its weight, a batch norm, a projection without a bias and a table of places."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.words = nn.Embedding(6, 8), nn.Embedding(6, 8)
        self.norm, self.project = nn.LayerNorm(8), nn.Linear(8, 8, bias=False)
        self.channels = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1])
        x = self.norm(x + self.words(at) * 0.5 + self.places(at))
        return self.project(self.channels(x.transpose(1, 2)).transpose(1, 2))  # type: ignore[no-any-return]


class Functions(nn.Module):
    """The same with plain tensors, of which some have the same shape and another order."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(6, 8))
        self.minus_one, self.shift = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self.register_buffer("average", torch.zeros(8))
        self.register_buffer("spread", torch.ones(8))
        self.gain, self.offset = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self.matrix = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        x = x + 0.5 * self.b[:count] + self.a[:count]
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = (x * self.minus_one + self.shift).transpose(1, 2)
        x = functional.batch_norm(x, self.average, self.spread, self.gain, self.offset)  # type: ignore[arg-type]
        return x.transpose(1, 2) @ self.matrix


def _moved(first: nn.Module, second: nn.Module, *args: Tensor) -> WeightMap:
    draw_lively(first, 0)
    return copy_weights(Runnable(first.eval(), args, {}), Runnable(second.eval(), args, {}))


def test_weights_of_a_model_of_functions_are_found_where_they_are_used() -> None:
    torch.manual_seed(0)
    first, second, x = Modules(), Functions(), torch.randn(2, 5, 8)
    found = _moved(first, second, x)
    assert {move.target: move.pieces[0].name for move in found.moves} == {
        "a": "places.weight",
        "b": "words.weight",
        "minus_one": "norm.weight",
        "shift": "norm.bias",
        "average": "channels.running_mean",
        "spread": "channels.running_var",
        "gain": "channels.weight",
        "offset": "channels.bias",
        "matrix": "project.weight",
    }
    assert torch.equal(second.matrix, first.project.weight.t())
    assert torch.allclose(first(x), second(x), atol=1e-5)


class ScaledWords(nn.Embedding):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * 3.0


class ScaledInside(nn.Module):
    """Words that the embedding scales, and norms, to which a scale is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.pre_ffn_norm, self.input_norm = ScaledWords(6, 8), nn.RMSNorm(8, 1e-6), nn.RMSNorm(8, 1e-6)
        self.out = nn.Linear(8, 8, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        return self.pre_ffn_norm(x + self.out(self.input_norm(x)))  # type: ignore[no-any-return]


class ScaledAfter(nn.Module):
    """The same, with names by which the norms would change places."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.pre_a, self.b = nn.Embedding(6, 8), nn.RMSNorm(8, 1e-6), nn.RMSNorm(8, 1e-6)
        self.matrix = nn.Linear(8, 8, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids) * 3.0
        return self.b(x + self.matrix(self.pre_a(x)))  # type: ignore[no-any-return]


def test_a_scale_in_a_module_or_after_it_does_not_mix_up_what_follows() -> None:
    torch.manual_seed(0)
    found = _moved(ScaledInside(), ScaledAfter(), torch.arange(6)[None])
    assert {move.target: move.pieces[0].name for move in found.moves} == {
        "table.weight": "words.weight",
        "pre_a.weight": "input_norm.weight",
        "b.weight": "pre_ffn_norm.weight",
        "matrix.weight": "out.weight",
    }


class Stacked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_up, self.down = nn.Parameter(torch.randn(2, 6, 4)), nn.Parameter(torch.randn(2, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        gate, up = (x @ self.gate_up.mT).chunk(2, -1)
        return ((functional.silu(gate) * up) @ self.down.mT).sum(0)


class Alone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = (nn.ModuleList(nn.Linear(4, 3, bias=False) for _ in range(2)) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(3, 4, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        outs = [
            down(functional.silu(gate(x)) * up(x)) for gate, up, down in zip(self.gate, self.up, self.down, strict=True)
        ]
        return outs[0] + outs[1]


@pytest.mark.parametrize("builds", [(Stacked, Alone), (Alone, Stacked)])
def test_experts_stored_as_one_weight_go_into_matrices_of_their_own_and_back(
    builds: tuple[Callable[[], nn.Module], Callable[[], nn.Module]],
) -> None:
    torch.manual_seed(0)
    first, second = (build() for build in builds)
    x = torch.randn(5, 4)
    found = _moved(first, second, x)
    assert found.left == ()
    assert torch.allclose(first(x), second(x), atol=1e-5)
