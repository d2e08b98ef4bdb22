"""Attention whose heads do not fit: the layers that made them are found behind what splits, turns and repeats heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.advice import broken


class Attention(nn.Module):
    """Four heads of queries and two of keys and values, each of 8 features, in either way of writing it."""

    def __init__(self, k: int = 16, v: int = 16, fused: bool = True) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(12, 32), nn.Linear(12, k), nn.Linear(12, v), nn.Linear(32, 12)
        self.fused = fused

    def heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, 8).transpose(1, 2)

    def repeated(self, x: Tensor) -> Tensor:
        b, heads, length, features = x.shape
        return x[:, :, None].expand(b, heads, 2, length, features).reshape(b, 2 * heads, length, features)

    def forward(self, x: Tensor) -> Any:
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            mixed = (q @ self.repeated(k).transpose(-1, -2)).softmax(-1) @ self.repeated(v)
        return x + self.o(mixed.transpose(1, 2).flatten(2))


def fixes(model: nn.Module) -> list[str]:
    return [fix.text for fix in broken(model, "2x5x12").finding.fixes]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("wrong", ["k", "v"])
def test_the_layer_that_made_too_many_heads_is_built_to_give_fewer(wrong: str, fused: bool) -> None:
    assert fixes(Attention(**{wrong: 24}, fused=fused)) == [f"set out_features=16 in {wrong}"]  # type: ignore[arg-type]


def test_layers_that_share_a_wrong_size_are_built_otherwise_in_all_blocks() -> None:
    model = nn.Sequential(Attention(v=24), Attention(), Attention(v=24))
    assert fixes(model) == ["set out_features=16 in 0.v and 2.v"]


def test_keys_and_values_that_do_not_share_the_queries_evenly_are_built_together() -> None:
    finding = broken(Attention(k=24, v=24), "2x5x12").finding
    assert "expects heads of key and value that share 4 heads of query evenly, got 3" in finding.message
    assert [fix.text for fix in finding.fixes] == ["set out_features=16 in k and v", "set out_features=32 in k and v"]


def test_heads_that_were_cached_before_are_followed_as_well() -> None:
    class Cached(Attention):
        def heads(self, x: Tensor) -> Tensor:
            return torch.cat((torch.empty(0), super().heads(x)), -2)

    assert fixes(Cached(v=24)) == ["set out_features=16 in v"]
