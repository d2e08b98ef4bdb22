"""One model against a variant of it: an adapter merged, weights quantized, exported, compiled, of another seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.two_models.quantized import quantized_weights
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.runs import compare_runs
from fwdtrace.run.two import TwoRunsPlan, compare_two
from tests.helpers.traces import call


class Adapted(nn.Module):
    """A layer with a low-rank adapter beside it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(16, 2, bias=False), nn.Linear(2, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2.0 * self.up(self.down(x))  # type: ignore[no-any-return]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x)
        return self.third(functional.gelu(self.second(x)))  # type: ignore[no-any-return]


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net().eval()


def adapted() -> Net:
    model = net()
    for name in ("first", "second"):
        setattr(model, name, Adapted(model.get_submodule(name)))  # type: ignore[arg-type]
    return model


def merged(scale_of_second: float = 2.0) -> Net:
    model = adapted()
    for name, scale in (("first", 2.0), ("second", scale_of_second)):
        layer = model.get_submodule(name)
        assert isinstance(layer, Adapted)
        layer.base.weight.data += scale * layer.up.weight @ layer.down.weight
        setattr(model, name, layer.base)
    return model


def quantized(wrong: float = 1.0) -> nn.Module:
    model = net()
    model.second.weight.data *= wrong
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-any-return,no-untyped-call]


def compared(one: nn.Module, other: nn.Module) -> TraceComparison:
    torch.manual_seed(1)
    x = torch.randn(3, 16)
    return compare_runs(Runnable(one, (x,), {}), Runnable(other, (x,), {}))


def test_an_adapter_that_was_merged_gives_the_same_beyond_the_rounding_of_weights() -> None:
    found = compared(adapted(), merged())
    assert found.equal, found.verdict
    assert found.verdict.startswith("No difference found beyond rounding, as measured in float64: 1 result")


def test_an_adapter_that_was_merged_with_another_scale_is_named() -> None:
    found = compared(adapted(), merged(scale_of_second=1.0))
    assert found.origin is not None and found.origin.path == "second.base" and found.origin.other_path == "second"
    assert found.origin.why[0].startswith("weight differs by up to")


@pytest.mark.filterwarnings("ignore")
def test_weights_that_were_only_quantized_are_told_from_one_that_is_wrong() -> None:
    right, wrong = compared(net(), quantized()), compared(net(), quantized(wrong=1.5))
    assert "3 weights of the second are quantized, each to the nearest step of what the first has" in right.notes
    assert right.origin is not None and right.origin.path == "first"
    assert "3 weights of the second are quantized, not all to the nearest step of what the first has" in wrong.notes
    assert wrong.origin is not None and wrong.origin.path == "second"
    assert wrong.origin.why[0].endswith("steps of the grid that it was quantized to")


@pytest.mark.filterwarnings("ignore")
def test_a_weight_that_was_quantized_by_channel_is_measured_by_the_step_of_each() -> None:
    one, other = nn.Linear(4, 2, bias=False), nn.Module()
    scales, weight = torch.tensor([0.01, 1.0], dtype=torch.float64), torch.tensor([[0.1] * 4, [0.4] * 4])
    one.weight.data = weight
    other.weight = torch.quantize_per_channel(weight, scales, torch.zeros(2), 0, torch.qint8)  # type: ignore[assignment]
    found = quantized_weights([(call(1, 0, "a", "Linear"), call(1, 0, "a", "Linear"), one, other)])
    assert found is not None and found.weights == 1 and found.further is None
    one.weight.data = weight + 0.02  # two steps of the first row, and a small part of one of the second
    found = quantized_weights([(call(1, 0, "a", "Linear"), call(1, 0, "a", "Linear"), one, other)])
    assert found is not None and found.further is not None and "2 steps" in found.further.why[0]


@pytest.mark.filterwarnings("ignore")
def test_an_exported_model_is_compared_by_what_it_gives(folder: Path) -> None:
    torch.export.save(torch.export.export(net(), (torch.randn(3, 16),)), folder / "net.pt2")
    exported = torch.export.load(folder / "net.pt2").module()
    found = compared(net(), exported)
    assert found.verdict == "No difference found: the result of both models is bit-identical."
    other = net()
    other.second.weight.data[3] += 1.0
    found = compared(other, exported)
    assert found.origin is not None and found.origin.path == "second"


@pytest.mark.filterwarnings("ignore")
def test_the_weight_that_differs_inside_an_exported_program_is_named(folder: Path) -> None:
    model, programs = net(), []
    for change in (0.0, 1.0):
        model.second.weight.data[3] += change
        file = folder / f"{change}.pt2"
        torch.export.save(torch.export.export(model, (torch.randn(3, 16),)), file)
        programs.append(torch.export.load(file).module())
    found = compared(*programs)
    assert found.origin is not None and found.origin.why == ("second.weight differs by up to 1",)


def test_a_model_from_another_seed_differs_from_its_first_weight_on() -> None:
    found = compared(net(0), net(1))
    assert found.origin is not None and found.origin.path == "first"
    assert any(why.startswith("weight differs by up to") for why in found.origin.why)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_is_equal_beyond_rounding() -> None:
    plan = TwoRunsPlan("tests.compare.two_models.test_variants:net", inputs=("3x16",), compile=True)
    found = compare_two(plan).comparison
    assert found.equal, found.verdict
