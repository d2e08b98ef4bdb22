"""Attention whose heads do not fit: the layers that made them are found behind what splits, turns and repeats heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwdtrace.trials import same_crash
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


def fixes(model: nn.Module, shape: str = "2x5x12") -> list[str]:
    return [fix.text for fix in broken(model, shape).finding.fixes]


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


def test_a_sequence_as_long_as_there_are_heads_hides_no_layer() -> None:
    assert fixes(Attention(v=24), "2x3x12") == ["set out_features=16 in v"]


def test_a_query_of_other_heads_is_made_like_the_keys() -> None:
    class Narrow(Attention):
        def __init__(self) -> None:
            super().__init__(32, 32)
            self.q = nn.Linear(12, 16)

        def forward(self, x: Tensor) -> Any:
            q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
            return x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    finding = broken(Narrow(), "2x5x12").finding
    assert "expects as many heads of query as of key, got 2 and 4" in finding.message
    assert finding.fixes[0].text == "set out_features=32 in q"


def test_a_part_that_writes_into_what_it_was_given_is_not_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Caching(Attention):
        def forward(self, x: Tensor, cache: dict[str, Tensor] | None = None) -> Any:
            assert cache is not None
            q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
            for name, made in (("k", k), ("v", v)):
                cache[name] = torch.cat((cache[name], made), -2) if name in cache else made
            return self.o(F.scaled_dot_product_attention(q, cache["k"], cache["v"]).transpose(1, 2).flatten(2))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Caching(32, 32), Caching(32, 24), Caching(32, 32)])

        def forward(self, x: Tensor) -> Any:
            for layer in self.layers:
                x = x + layer(x, cache={})
            return x

    monkeypatch.setattr(same_crash, "QUICK", 0.0)
    assert fixes(Decoder())[0] == "set out_features=32 in layers.1.v"


@pytest.mark.parametrize(
    ("token", "patch", "advice"),
    [
        (12, 8, "set out_channels=12 in patch"),
        (8, 12, "make the parameter token 1×1×12"),
    ],
)
def test_a_token_and_patches_of_other_sizes_are_made_alike(token: int, patch: int, advice: str) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.token = nn.Conv2d(3, patch, 4, 4), nn.Parameter(torch.zeros(1, 1, token))
            self.head = nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Any:
            x = self.patch(x).flatten(2).transpose(1, 2)
            return self.head(torch.cat((self.token.expand(len(x), -1, -1), x), 1)[:, 0])

    assert fixes(Tokens(), "2x3x8x8")[0] == advice
