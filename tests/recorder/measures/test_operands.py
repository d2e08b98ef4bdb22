"""The numbers of a tensor at the places where a result went wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fwdtrace.recorder.measures.operands import non_finite_places, operand_of
from fwdtrace.trace import Operand, Stats

PLACES = torch.tensor([[True, False], [True, False]])


def stats(low: float, high: float, count: int, zeros: int = 0) -> Stats:
    spread = 0.0 if count == 1 or low == high else (high - low) / 2
    return Stats((low + high) / 2, spread, low, high, zeros, 0, 0)


@pytest.mark.parametrize(
    ("tensor", "expected", "everywhere"),
    [
        (torch.tensor([[1.0, 9.0], [3.0, 9.0]]), stats(1, 3, 2), False),
        (torch.tensor([2.0, 9.0]), stats(2, 2, 2), False),
        (torch.tensor([[0.0], [4.0]]), stats(0, 4, 2, zeros=1), False),
        (torch.tensor(5.0), stats(5, 5, 2), False),
        (torch.tensor([1.0, 2.0, 3.0]), Stats(2.0, pytest.approx((2 / 3) ** 0.5), 1.0, 3.0, 0, 0, 0), True),
    ],
    ids=["same shape", "row", "column", "scalar", "another shape"],
)
def test_the_elements_are_those_at_the_places_if_the_shape_tells(
    tensor: Tensor, expected: Stats, everywhere: bool
) -> None:
    assert operand_of("x", tensor, PLACES) == Operand("x", tuple(tensor.shape), "float32", expected, everywhere)


def test_rows_of_a_mask_are_told_by_their_first_index() -> None:
    mask = torch.tensor([[True, True], [False, False], [True, False]])
    found = operand_of("mask", mask)
    assert found is not None and (found.true_rows, found.false_rows) == ((0,), (1,))
    hidden = torch.zeros(2, 3, 4)
    hidden[1, 2] = -math.inf
    found = operand_of("mask", hidden)
    assert found is not None and found.infinite_rows == (1,)


def test_what_has_no_numbers_is_left_out() -> None:
    assert operand_of("x", torch.empty(2, device="meta")) is None
    assert non_finite_places(torch.empty(2, device="meta")) is None


def test_places_are_those_of_nan_and_infinity() -> None:
    found = non_finite_places(torch.tensor([1.0, math.nan, -math.inf]))
    assert found is not None and found.tolist() == [False, True, True]
