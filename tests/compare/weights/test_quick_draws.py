"""Weights that others replace are not drawn, and all that differs for it is known."""

from __future__ import annotations

import copy
import ctypes
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.fx
from torch import Tensor, nn

from fwdtrace.compare.weights import quick_draws
from fwdtrace.compare.weights.quick_draws import QuickDraws
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.two import TwoRunsPlan, compare_two

SIDE = 320


class Model(nn.Module):
    """A large layer, and what may come of its numbers."""

    def __init__(self, more: Callable[[nn.Module, Tensor], object] | None = None) -> None:
        super().__init__()
        self.small = nn.Linear(4, 4)
        self.large = nn.Linear(SIDE, SIDE, bias=False)
        if more is not None:
            more(self, self.large.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.large(x)  # type: ignore[no-any-return]


class Left(Model):
    """A model with a weight that the other has not."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(SIDE))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shift


BUILT: list[Left] = []


def the_same() -> Left:
    if not BUILT:
        BUILT.append(Left())
    return BUILT[0]


def drawn_quickly(more: Callable[[nn.Module, Tensor], object] | None = None) -> tuple[Model, QuickDraws]:
    quick = QuickDraws()
    with quick:
        model = Model(more)
    return model, quick


def test_a_large_weight_alone_is_drawn_otherwise() -> None:
    torch.manual_seed(0)
    expected = Model()
    torch.manual_seed(0)
    model, quick = drawn_quickly()
    assert torch.equal(model.small.weight, expected.small.weight)
    assert not torch.equal(model.large.weight, expected.large.weight)
    assert abs(float((model.large.weight.std() / expected.large.weight.std()).detach()) - 1) < 0.05
    assert quick.only_in(model, ["large.weight"])
    assert not quick.only_in(model, ["small.weight"])


@pytest.mark.parametrize(
    "more",
    [
        lambda model, weight: model.register_buffer("norms", weight.norm(dim=0)),
        lambda model, weight: model.register_buffer("kept", torch.empty(SIDE).copy_(weight[0]), persistent=False),
        lambda model, weight: setattr(model, "lines", [weight[:2] * 2]),
        lambda model, weight: setattr(model, "later", nn.Linear(2, 2)),
        lambda model, weight: setattr(model, "mask", torch.rand(5) > 0.5),
        lambda model, weight: setattr(model, "size", float(weight.sum())),
        lambda model, weight: setattr(model, "sparse", weight.to_sparse().coalesce()),
    ],
    ids=["computed", "written", "listed", "drawn later", "made of later", "read", "sparse"],
)
def test_what_depends_on_it_is_known(more: Callable[[nn.Module, Tensor], None]) -> None:
    model, quick = drawn_quickly(more)
    assert not quick.only_in(model, ["large.weight"])


def test_what_does_not_depend_on_it_is_not_taken_for_it() -> None:
    def more(model: nn.Module, weight: Tensor) -> None:
        generator = torch.Generator().manual_seed(1)
        model.register_buffer("own", torch.rand(5, generator=generator))
        model.register_buffer("zeros", torch.zeros(weight.shape[0]))

    model, quick = drawn_quickly(more)
    assert quick.only_in(model, ["large.weight"])


def test_what_is_done_to_each_number_alone_is_done_to_few_of_them() -> None:
    model, quick = drawn_quickly(lambda model, weight: weight.uniform_(-1, 1).erfinv_().mul_(2.0).clamp_(-0.5, 0.5))
    weight = model.large.weight.detach().view(-1)
    assert torch.equal(weight[quick_draws.FEW : 2 * quick_draws.FEW], weight[: quick_draws.FEW])
    assert weight.aminmax() == (-0.5, 0.5)
    assert abs(float(weight.std()) - 0.457) < 0.01
    assert quick.only_in(model, ["large.weight"])


def test_a_weight_that_is_filled_more_than_once_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Tensor] = []
    fill = quick_draws._filled

    def fill_and_note(tensor: Tensor, few: Tensor) -> Tensor:
        written.append(few)
        return fill(tensor, few)

    monkeypatch.setattr(quick_draws, "_filled", fill_and_note)
    quick = QuickDraws()
    with quick, torch.no_grad():
        model = nn.ModuleDict({"large": nn.Linear(SIDE, SIDE, bias=False)})
        weight = model.get_parameter("large.weight")
        weight.normal_().mul_(2.0)
    assert len(written) == 1
    assert torch.equal(weight.detach().view(-1)[: quick_draws.FEW], written[0])
    assert quick.only_in(model, ["large.weight"])


@pytest.mark.parametrize(
    "read",
    [
        lambda weight: weight[0].clone(),
        lambda weight: copy.deepcopy(weight)[0],
        lambda weight: torch.from_numpy(weight.detach().numpy())[0].clone(),
        lambda weight: torch.stack([*weight])[0],
        lambda weight: torch.tensor(weight.tolist())[0],
        lambda weight: torch.tensor([number.item() for number in weight[0]]),
        lambda weight: pickle.loads(pickle.dumps(weight))[0].clone(),
        lambda weight: torch.tensor((ctypes.c_float * SIDE).from_address(weight.data_ptr())[:]),
        lambda weight: torch.empty(0).set_(weight.untyped_storage(), 0, (SIDE,)).clone(),
        lambda weight: torch.from_numpy(np.from_dlpack(weight)[0].copy()),
    ],
    ids=[
        *("in part", "copied", "as an array", "in a list", "as a list"),
        *("one by one", "pickled", "by address", "by memory", "exchanged"),
    ],
)
def test_a_weight_has_its_numbers_when_it_is_read(read: Callable[[Tensor], Tensor]) -> None:
    rows: list[Tensor] = []
    model, _ = drawn_quickly(lambda model, weight: rows.append(read(model.get_parameter("large.weight").detach())))
    assert torch.equal(rows[0], model.large.weight[0].detach())


@pytest.mark.parametrize(
    "read", [Tensor.numpy, Tensor.tolist, Tensor.data_ptr, copy.deepcopy], ids=lambda each: each.__name__
)
def test_what_is_read_by_no_operation_decides_perhaps_on_what_is_not_a_weight(read: Callable[[Tensor], Any]) -> None:
    model, quick = drawn_quickly(lambda model, weight: setattr(model, "first", read(weight)))
    assert not quick.only_in(model, ["large.weight"])


def test_an_array_of_a_weight_has_the_numbers_of_each_later_fill() -> None:
    def more(model: nn.Module, weight: Tensor) -> None:
        array = weight.numpy()
        weight.uniform_(5.0, 6.0)
        lowest.append(float(array.min()))

    lowest: list[float] = []
    drawn_quickly(more)
    assert lowest[0] >= 5.0


@pytest.mark.parametrize(
    "more",
    [
        lambda model, weight: setattr(model, "lazy", nn.LazyLinear(4).to(torch.float64)),
        lambda model, weight: torch.func.vmap(lambda row: row.clone().tanh())(weight),
        lambda model, weight: weight.to("meta").t().contiguous(),
        lambda model, weight: torch.fx.symbolic_trace(nn.Sequential(model.get_submodule("large"), nn.ReLU())),
    ],
    ids=["lazy", "vmap", "meta", "traced"],
)
def test_a_model_is_built_of_tensors_of_any_kind(more: Callable[[nn.Module, Tensor], object]) -> None:
    model, quick = drawn_quickly(more)
    assert quick.only_in(model, ["large.weight"])


def test_a_weight_in_the_memory_of_an_array_is_written_at_once() -> None:
    array = np.zeros((SIDE, SIDE), dtype=np.float32)
    with QuickDraws():
        weight = torch.from_numpy(array)
        weight.uniform_(5.0, 6.0)
        lowest = float(array.min())
    assert lowest >= 5.0


def test_a_weight_is_what_was_done_to_it_under_another_type() -> None:
    def more(model: nn.Module, weight: Tensor) -> None:
        weight.fill_(1.0)
        weight.uniform_(1.0, 2.0)
        weight.view(torch.int32).bitwise_and_(0x7F800000)  # nothing but the exponent is left
        weight.mul_(3.0)

    model, _ = drawn_quickly(more)
    assert bool((model.large.weight == 3.0).all())


def test_a_weight_that_is_made_in_inference_mode_gets_its_numbers() -> None:
    with QuickDraws(), torch.inference_mode():
        weight = torch.empty(SIDE, SIDE).fill_(9.0).uniform_(-1.0, 1.0)
    assert float(weight.abs().max()) <= 1.0


def test_what_torch_reads_of_numbers_to_reject_some_of_them_decides_nothing_else() -> None:
    model, quick = drawn_quickly(lambda model, weight: nn.init.trunc_normal_(weight, std=0.1, a=-0.05, b=0.05))
    assert float(model.large.weight.abs().max().detach()) <= 0.05
    assert quick.only_in(model, ["large.weight"])


def test_what_is_written_into_a_part_of_a_weight_is_there_after_all_of_it_is_scaled() -> None:
    def more(model: nn.Module, weight: Tensor) -> None:
        weight[-1].zero_()
        weight.mul_(2.0)

    model, _ = drawn_quickly(more)
    assert not model.large.weight[-1].any()


@pytest.mark.parametrize("second", ["Model", "Left"])
def test_the_seed_decides_on_the_weights_that_are_left(second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = TwoRunsPlan(f"{__name__}:Model", f"{__name__}:{second}", inputs=(f"2x{SIDE}",), same_init=True)
    quickly = compare_two(plan).comparison
    monkeypatch.setattr(quick_draws, "_LARGE", 10**9)
    assert compare_two(plan).comparison == quickly
    assert quickly.equal == (second == "Model")


def test_a_model_that_is_built_only_once_is_refused_where_a_weight_was_drawn_otherwise() -> None:
    plan = TwoRunsPlan(f"{__name__}:Model", f"{__name__}:the_same", inputs=(f"2x{SIDE}",), same_init=True)
    with pytest.raises(FwdtraceError, match="name what builds a new one each time"):
        compare_two(plan)
