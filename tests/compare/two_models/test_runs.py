"""Two models that differ in one place: the comparison names that call as the origin; equal ones have no difference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.compare import How, compare_traces
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.runs import compare_runs
from fwdtrace.models.zoo.lenet import LeNet
from fwdtrace.trace import Trace
from tests.helpers.real_models import MODELS
from tests.helpers.recorded import recorded


class Net(nn.Module):
    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.inp = nn.Linear(8, 16)
        self.act: nn.Module = nn.ReLU()
        self.norm = nn.LayerNorm(16)
        self.drop: nn.Module = drop
        self.out = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.act(self.inp(x)))
        return self.out(x if self.drop is None else self.drop(x))  # type: ignore[no-any-return]


def net() -> Net:
    return Net(nn.Dropout(0.5))


def compared(one: nn.Module, other: nn.Module, *args: Any, how: How | None = None, **kwargs: Any) -> TraceComparison:
    return compare_runs(Runnable(one.eval(), args, kwargs), Runnable(other.eval(), args, kwargs), how)


def traced(model: nn.Module, *args: Any, stats: bool = False) -> Trace:
    return recorded(model.eval(), *args, ops=True, stats=stats)


def with_one_weight_changed(model: nn.Module, path: str) -> nn.Module:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter(f"{path}.weight").view(-1)[0] += 0.5
    return other


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lenet", "f5"),
        ("timm:vit_tiny_patch16_224", "blocks.6.mlp.fc1"),
        ("transformers:BertForSequenceClassification", "bert.encoder.layer.1.attention.self.key"),
    ],
)
def test_the_origin_is_the_call_of_the_layer_with_one_other_weight(name: str, path: str) -> None:
    model, args, kwargs = (LeNet(), (torch.randn(1, 3, 32, 32),), {}) if name == "lenet" else MODELS[name]()
    if name == "lenet":
        path = [found for found, layer in model.named_modules() if isinstance(layer, nn.Linear)][1]
    found = compared(model, with_one_weight_changed(model, path), *args, **kwargs)
    assert found.origin is not None and found.origin.path == path
    assert found.origin.why == ("weight differs by up to 0.5",)
    assert found.growth[0].path == path
    assert compared(model, copy.deepcopy(model), *args, **kwargs).equal


def other_activation(model: Net) -> None:
    model.act = nn.GELU()


def other_epsilon(model: Net) -> None:
    model.norm.eps = 1e-6


@pytest.mark.parametrize(("change", "path"), [(other_activation, "act"), (other_epsilon, "norm")])
def test_the_origin_is_the_call_of_the_module_that_was_changed(change: Callable[[Net], None], path: str) -> None:
    model = net()
    other = copy.deepcopy(model)
    change(other)
    found = compared(model, other, torch.randn(2, 8))
    assert found.origin is not None and (found.origin.path, found.origin.nth) == (path, 1)


@pytest.mark.parametrize("drop", [nn.Identity(), nn.Dropout(0.0), None])
def test_the_origin_is_the_dropout_that_the_second_lacks(drop: nn.Module | None) -> None:
    model = net()
    other = copy.deepcopy(model)
    other.drop = drop  # type: ignore[assignment]
    x = torch.randn(2, 8)
    found = compare_runs(Runnable(model.train(), (x,), {}), Runnable(other.train(), (x,), {}))
    assert found.origin is not None and found.origin.path == "drop"


def test_a_model_in_train_mode_is_its_own_equal_again_and_again() -> None:
    model, x = net().train(), torch.randn(4, 8)
    for _ in range(2):
        found = compare_runs(Runnable(model, (x,), {}), Runnable(copy.deepcopy(model), (x,), {}))
        assert found.equal and found.verdict.endswith("all outputs are bit-identical.")


def test_a_dropout_left_out_of_eval_mode_is_a_difference_in_structure() -> None:
    model = net()
    other = copy.deepcopy(model)
    other.drop = None  # type: ignore[assignment]
    found = compared(model, other, torch.randn(2, 8))
    assert [(each.kind, each.path) for each in found.differences] == [("missing", "drop")]
    assert found.origin is None


def test_values_that_were_only_digested_tell_the_same_origin() -> None:
    model, x = LeNet(), torch.randn(1, 3, 32, 32)
    other = with_one_weight_changed(model, "c1" if hasattr(model, "c1") else next(iter(dict(model.named_children()))))
    sides = Runnable(model.eval(), (x,), {}), Runnable(other.eval(), (x,), {})
    whole, digested = compare_runs(*sides), compare_runs(*sides, max_bytes=0)
    assert whole.origin is not None and digested.origin is not None
    assert whole.origin.path == digested.origin.path
    assert any("digest" in note for note in digested.notes)


def test_nan_is_the_equal_of_nan() -> None:
    model = net()
    with torch.no_grad():
        model.inp.weight[0, 0] = float("nan")
    assert compared(model, copy.deepcopy(model), torch.randn(2, 8)).equal


def test_nan_on_one_side_only_is_a_difference() -> None:
    model = net()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.norm.weight[0] = float("nan")
    found = compared(model, other, torch.randn(2, 8))
    assert found.origin is not None and found.origin.path == "norm"
    assert found.origin.apart is not None and found.origin.apart.absolute is None


def test_two_traces_with_statistics_tell_the_origin_without_tensors() -> None:
    model, x = net(), torch.randn(2, 8)
    other = with_one_weight_changed(model, "norm")
    found = compare_traces(traced(model, x, stats=True), traced(other, x, stats=True))
    assert found.origin is not None and found.origin.path == "norm"


def test_two_traces_without_numbers_differ_by_shape() -> None:
    model, x = net(), torch.randn(2, 8)
    other = copy.deepcopy(model)
    other.out = nn.Linear(16, 5)
    found = compare_traces(traced(model, x), traced(other, x))
    assert found.origin is not None and found.origin.path == "out"
    assert {each.kind for each in found.differences} == {"shape", "parameters"}
    assert any(
        note.startswith("no numbers were compared: the traces hold none of the same calls") for note in found.notes
    )


def test_hooks_and_direct_calls_are_compared() -> None:
    model, x = net(), torch.randn(2, 8)
    other = copy.deepcopy(model)
    other.out.register_forward_hook(lambda *_: None)
    found = compare_traces(traced(model, x), traced(other, x))
    assert [(each.kind, each.path) for each in found.differences] == [("hooks", "out")]


def test_two_traces_are_compared_from_python() -> None:
    model = net()
    before, after = traced(model, torch.ones(2, 8), stats=True), traced(model, torch.ones(3, 8), stats=True)
    assert fwdtrace.compare_traces(before, before).equal
    assert str(fwdtrace.compare_traces(before, after)).startswith("The two runs were given other inputs")


def test_functional_ops_are_compared() -> None:
    class Functional(nn.Module):
        def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)
            self.function = function

        def forward(self, x: Tensor) -> Tensor:
            return self.function(self.layer(x))

    model = Functional(torch.relu)
    other = Functional(torch.tanh)
    other.load_state_dict(model.state_dict())
    found = compared(model, other, torch.randn(2, 8))
    assert found.origin is not None and found.origin.path == ""
    assert [each.kind for each in found.differences] == ["output", "ops"]


def test_units_in_the_last_place_of_a_zero_are_told_in_short() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    found = compared(model, with_one_weight_changed(model, "0"), torch.ones(1, 2))
    assert found.differences[0].message == ("the model gives other numbers, up to 0.5 apart, 3.6e+44 ulp")
