"""Models and rewrites of them with other names: equal where they compute the same, else parted where they do not."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare import How
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.runs import compare_runs
from fwdtrace.compare.weights.weights import copy_weights
from tests.helpers.real_models import MODELS

MAPS = (
    "bert.embeddings.word_embeddings=tokens",
    "bert.embeddings.position_embeddings=places",
    "bert.embeddings.token_type_embeddings=kinds",
    "bert.embeddings.LayerNorm=norm",
    "bert.encoder.layer.{i}.attention.self.query=blocks.{i}.q",
    "bert.encoder.layer.{i}.attention.self.key=blocks.{i}.k",
    "bert.encoder.layer.{i}.attention.self.value=blocks.{i}.v",
    "bert.encoder.layer.{i}.attention.output.dense=blocks.{i}.o",
    "bert.encoder.layer.{i}.attention.output.LayerNorm=blocks.{i}.norm1",
    "bert.encoder.layer.{i}.intermediate.dense=blocks.{i}.up",
    "bert.encoder.layer.{i}.output.dense=blocks.{i}.down",
    "bert.encoder.layer.{i}.output.LayerNorm=blocks.{i}.norm2",
    "bert.encoder.layer.{i}=blocks.{i}",
    "bert.pooler.dense=pool",
    "classifier=head",
)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(32, eps=1e-12), nn.LayerNorm(32, eps=1e-12)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
        self.activation = functional.gelu

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (4, 8)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(8)).softmax(-1)
        x = self.norm1(x + self.o((weights @ v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(self.activation(self.up(x))))  # type: ignore[no-any-return]


class Port(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.kinds, self.places = nn.Embedding(99, 32), nn.Embedding(2, 32), nn.Embedding(512, 32)
        self.norm = nn.LayerNorm(32, eps=1e-12)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.pool, self.head = nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1])[None]
        x = self.norm(self.tokens(input_ids) + self.kinds(torch.zeros_like(input_ids)) + self.places(places))
        for block in self.blocks:
            x = block(x)
        return self.head(torch.tanh(self.pool(x[:, 0])))  # type: ignore[no-any-return]


def bert_and_port(maps: tuple[str, ...]) -> tuple[nn.Module, Port, dict[str, Any]]:
    model, _, kwargs = MODELS["transformers:BertForSequenceClassification"]()
    port = Port()
    told = copy_weights(Runnable(model.eval(), (), kwargs), Runnable(port.eval(), (), kwargs), maps)
    assert len(told.moves) == 41 and not told.left and not told.ambiguous
    return model, port, kwargs


@pytest.mark.parametrize("maps", [(), MAPS])
def test_a_port_of_bert_is_aligned_and_equal_within_tolerance(maps: tuple[str, ...]) -> None:
    model, port, kwargs = bert_and_port(maps)
    found = compare_runs(Runnable(model, (), kwargs), Runnable(port, (), kwargs), How(maps))
    assert found.equal, found.verdict
    assert found.verdict.startswith("No difference found")


@pytest.mark.parametrize("maps", [(), MAPS])
def test_a_bug_in_a_layer_of_the_port_is_found(maps: tuple[str, ...]) -> None:
    model, port, kwargs = bert_and_port(maps)
    with torch.no_grad():
        port.blocks[1].up.weight[3] *= 1.5
    found = compare_runs(Runnable(model, (), kwargs), Runnable(port, (), kwargs), How(maps))
    assert found.origin is not None
    assert found.origin.path == "bert.encoder.layer.1.intermediate.dense"
    assert found.origin.other_path == "blocks.1.up"


@pytest.mark.parametrize("maps", [(), MAPS])
def test_a_function_of_the_port_that_is_wrong_is_found_between_its_layers(maps: tuple[str, ...]) -> None:
    model, port, kwargs = bert_and_port(maps)
    port.blocks[1].activation = functional.relu
    found = compare_runs(Runnable(model, (), kwargs), Runnable(port, (), kwargs), How(maps))
    assert found.origin is not None
    assert found.origin.path == "bert.encoder.layer.1.intermediate.intermediate_act_fn"
    assert found.origin.op == "F.relu" and found.origin.why == ("GELUActivation became F.relu",)
    assert found.origin.site is not None and found.origin.site.code.startswith("return self.norm2")


@pytest.mark.parametrize("maps", [(), ("zz=yy",)])
def test_a_port_that_gives_another_shape_is_no_equal(maps: tuple[str, ...]) -> None:
    def made(name: str, width: int) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(OrderedDict([(name, nn.Linear(4, 4)), (f"{name}_last", nn.Linear(4, width))]))

    sides = (Runnable(made(name, width).eval(), (torch.ones(1, 4),), {}) for name, width in (("a", 3), ("b", 2)))
    found = compare_runs(*sides, How(maps))
    assert "the model: shape 1×3 became 1×2" in [difference.message for difference in found.differences]


class Cached(nn.Sequential):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), x


def test_a_port_that_gives_fewer_tensors_is_compared_by_those_that_both_give() -> None:
    def made(cls: type[nn.Sequential], name: str, scale: float = 1.0) -> nn.Module:
        torch.manual_seed(0)
        layer = nn.Linear(4, 4)
        layer.weight.data *= scale
        return cls(OrderedDict([(name, layer), (f"{name}_last", nn.Linear(4, 3))])).eval()

    def compared(port: nn.Module) -> TraceComparison:
        return compare_runs(*(Runnable(model, (torch.ones(1, 4),), {}) for model in (made(Cached, "a"), port)))

    found = compared(made(nn.Sequential, "b"))
    assert found.equal, found.verdict
    assert "the first gives 2 tensors, the second 1; what both give was compared, in order" in found.notes
    assert not compared(made(nn.Sequential, "b", scale=2.0)).equal
