"""Calls are paired by name, by mapped name and by order; a rewrite of BERT with names of its own is aligned."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare import How
from fwdtrace.compare.align import align
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.names import renamed
from fwdtrace.compare.runs import Runnable, compare_runs
from fwdtrace.compare.weights import copy_weights
from fwdtrace.errors import FwdtraceError
from tests.helpers.real_models import MODELS
from tests.helpers.traces import call, trace

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
    how = "" if maps else ", 41 of them by where they are used"
    assert told == f"41 of 41 weights of the second are copies of the first's{how}"
    return model, port, kwargs


@pytest.mark.parametrize("maps", [(), MAPS])
def test_a_port_of_bert_is_aligned_and_equal_within_tolerance(maps: tuple[str, ...]) -> None:
    model, port, kwargs = bert_and_port(maps)
    found = compare_runs(Runnable(model, (), kwargs), Runnable(port, (), kwargs), How(maps))
    assert found.equal, found.verdict
    assert found.verdict.startswith("No difference found beyond rounding")


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
    layer = "bert.encoder.layer.1"
    assert found.origin is not None and found.origin.path == layer
    assert found.origin.why == (
        "BertLayer became Block",
        f"they part between {layer}.intermediate.dense, whose output agrees, and {layer}.output.dense, "
        "whose input does not: GELUActivation became F.relu",
    )


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (4,), self.gain, eps=1e-6)


class Tokens(nn.Module):
    def __init__(self, norm: nn.Module, first: str) -> None:
        super().__init__()
        self.register_parameter(first, nn.Parameter(torch.randn(1, 1, 4)))
        self.first = first
        self.add_module(f"{first}_norm", norm)

    def forward(self, x: Tensor) -> Tensor:
        start: Tensor = getattr(self, self.first)
        return getattr(self, f"{self.first}_norm")(torch.cat([start, x], 1))  # type: ignore[no-any-return]


def test_weights_of_other_names_in_modules_of_other_classes_are_copied_by_shape() -> None:
    model, port = Tokens(nn.RMSNorm(4, eps=1e-6), "cls_token"), Tokens(Norm(), "start")
    x = torch.randn(1, 2, 4)
    told = copy_weights(Runnable(model, (x,), {}), Runnable(port, (x,), {}))
    assert told == "2 of 2 weights of the second are copies of the first's, 2 of them by where they are used"
    assert compare_runs(Runnable(model, (x,), {}), Runnable(port, (x,), {})).equal


class NormAndActivation(nn.BatchNorm1d):
    def __init__(self) -> None:
        super().__init__(4)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(super().forward(x))  # type: ignore[no-any-return]


def test_a_norm_with_its_activation_gets_the_weights_of_the_norm_and_is_not_compared_with_it() -> None:
    model = nn.Sequential(OrderedDict(a=nn.Linear(4, 4), b=nn.BatchNorm1d(4), c=nn.ReLU(), d=nn.Linear(4, 2)))
    port = nn.Sequential(OrderedDict(one=nn.Linear(4, 4), two=NormAndActivation(), three=nn.Linear(4, 2)))
    nn.init.normal_(model.b.weight)
    sides = Runnable(model.eval(), (torch.randn(3, 4),), {}), Runnable(port.eval(), (torch.randn(3, 4),), {})
    told = copy_weights(*sides)
    assert told == "9 of 9 weights of the second are copies of the first's, 9 of them by where they are used"
    found = compare_runs(sides[0], replace(sides[1], args=sides[0].args))
    assert found.equal, found.verdict


def test_what_is_no_tensor_in_a_state_dict_is_left_alone() -> None:
    class Counted(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"steps": 3}

        def set_extra_state(self, state: Any) -> None:
            assert state == {"steps": 3}

    model, port = (nn.ModuleDict({name: Counted(2, 2)}) for name in "aa")
    told = copy_weights(Runnable(model, (), {}), Runnable(port, (), {}))
    assert told == "2 of 2 weights of the second are copies of the first's"


def test_a_weight_without_a_shape_so_far_is_left_alone() -> None:
    model, port = (nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2)) for _ in range(2))
    told = copy_weights(Runnable(model, (), {}), Runnable(port, (), {}))
    assert told == "2 of 2 weights of the second are copies of the first's"


def test_weights_that_could_be_any_of_several_are_left() -> None:
    model, port = (nn.ModuleDict({name: nn.Linear(2, 2) for name in names}) for names in ("ab", "cd"))
    told = copy_weights(Runnable(model, (), {}), Runnable(port, (), {}))
    assert told.startswith("0 of 4 weights of the second are copies of the first's; 4 left as they were: c.weight")


def test_the_copied_weights_are_counted_and_those_left_are_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    other = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 4)})
    text = copy_weights(Runnable(model, (), {}), Runnable(other, (), {}), ["0=a", "1=b"])
    assert text == (
        "2 of 4 weights of the second are copies of the first's; 2 left as they were: b.weight, b.bias; "
        "2 of the first not used: 1.weight, 1.bias"
    )
    assert torch.equal(other["a"].weight, model[0].weight)


def test_the_map_that_says_most_of_a_name_holds() -> None:
    names = renamed({"layer.3.attn.q": 1, "layer.3.mlp": 2, "layers": 3}, ["layer.{i}=b{i}", "layer.{i}.attn=x.{i}.y"])
    assert names == {"x.3.y.q": 1, "b3.mlp": 2, "layers": 3}


@pytest.mark.parametrize("text", ["a", "=b", "a=", "a.{i}=b.{j}", "a.{i}.{i}=b.{i}"])
def test_a_map_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(FwdtraceError, match="--map"):
        renamed({}, [text])


def test_a_layer_left_out_of_a_list_moves_the_names_after_it() -> None:
    before = trace(
        call(0, None, "", "Net"), call(1, 0, "0", "Linear", parameters=4), call(2, 0, "1", "ReLU"),
        call(3, 0, "2", "Linear", parameters=6), call(4, 0, "3", "Linear", parameters=8),
    )  # fmt: skip
    after = trace(
        call(0, None, "", "Net"), call(1, 0, "0", "Linear", parameters=4), call(2, 0, "1", "Linear", parameters=6),
        call(3, 0, "3", "Linear", parameters=8),
    )  # fmt: skip
    found = align(before, after)
    assert [(one.path, other.path) for one, other in found.pairs] == [("", ""), ("0", "0"), ("2", "1"), ("3", "3")]
    assert [one.path for one in found.only_before] == ["1"]
    assert not found.is_port


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
