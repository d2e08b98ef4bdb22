"""Whether results are apart by rounding is measured in float64, where a real difference stays."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fwdtrace.compare.traces import How
from fwdtrace.compare.two_models.outputs import outputs_of
from fwdtrace.compare.two_models.recorded import Runnable, named_tensors
from fwdtrace.compare.two_models.rounding import Given, with_rounding
from fwdtrace.compare.two_models.runs import compare_runs
from fwdtrace.compare.two_models.watched import Watches

X = torch.rand(8, 64, generator=torch.Generator().manual_seed(0))


class Does(nn.Module):
    def __init__(self, does: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.does = does

    def forward(self, x: Tensor) -> Tensor:
        return self.does(x)


def agree(one: Callable[[Tensor], Tensor], two: Callable[[Tensor], Tensor]) -> bool | None:
    sides = [Does(one), Does(two)]
    given = [Given(Runnable(side, (X,), {}), named_tensors(side(X))) for side in sides]
    results = outputs_of(*(list(each.gave.items()) for each in given))
    return with_rounding(results, given[0], given[1], Watches(0)).equal


def test_another_order_of_a_sum_is_rounding() -> None:
    assert agree(lambda x: x.sum(1), lambda x: x.flip(1).cumsum(1)[:, -1])
    assert agree(lambda x: (x / 3).softmax(1), lambda x: (x * (1 / 3)).softmax(1))


def test_the_same_bits_are_equal_without_a_measurement() -> None:
    assert agree(lambda x: x + 1, lambda x: x + 1)


def test_a_small_difference_that_stays_in_float64_is_none() -> None:
    assert not agree(lambda x: x.sum(1), lambda x: x.sum(1) * (1 + 3e-5))
    assert not agree(lambda x: x * 1e-9, lambda x: x * 1.3e-9)


def test_a_model_that_computes_in_float32_all_the_same_may_differ_by_what_that_changes() -> None:
    assert agree(lambda x: x.float().sum(1), lambda x: x.float().flip(1).cumsum(1)[:, -1])
    assert not agree(lambda x: x.float().sum(1), lambda x: x.float().sum(1) * (1 + 3e-5))


class Shifted(nn.Module):
    """Adds a number and takes it away again, which loses what is small beside it."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = torch.tensor(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift - self.shift


def test_what_a_call_loses_by_itself_is_rounding_and_nothing_more() -> None:
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))

    def close(second: nn.Module, x: Tensor = x) -> bool:
        return compare_runs(Runnable(Shifted(1e3), (x,), {}), Runnable(second, (x,), {}), How(exact=False)).equal

    assert close(Shifted(-1e3))
    assert not close(Shifted(-1e5))


def test_a_difference_of_tiny_numbers_is_a_difference() -> None:
    model = nn.Linear(8, 8)
    with torch.no_grad():
        model.weight.mul_(1e-6), model.bias.mul_(1e-6)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.weight.mul_(1.01)
    x = torch.randn(4, 8)
    assert not compare_runs(Runnable(model, (x,), {}), Runnable(other, (x,), {}), How(exact=False)).equal
