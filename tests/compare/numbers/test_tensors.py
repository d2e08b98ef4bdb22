"""Tensors of every kind are compared bit for bit, and measured by their elements."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, SAME, Distance
from fwdtrace.compare.numbers.tensors import dense, distance_of_tensors, same_tensor

ROW = torch.tensor([1.0, 0.0, -2.0])
KINDS: dict[str, Callable[[], Tensor]] = {
    "float": lambda: ROW,
    "NaN": lambda: torch.tensor([math.nan, 1.0]),
    "complex": lambda: torch.tensor([1 + 2j, 3j], dtype=torch.complex128),
    "conjugate": lambda: torch.tensor([1 + 2j, 3j]).conj(),
    "bool": lambda: torch.tensor([True, False]),
    "half": lambda: ROW.bfloat16(),
    "whole numbers": lambda: torch.tensor([2**62, 1]),
    "a part of another": lambda: torch.arange(6.0).reshape(2, 3).T,
    "sparse": lambda: ROW.to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(ROW, 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([ROW, ROW[:2]]),
    "empty": lambda: torch.empty(0, 3),
    "scalar": lambda: torch.tensor(3.0),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_the_same(kind: str) -> None:
    tensor = KINDS[kind]()
    assert same_tensor(tensor, tensor.clone())
    assert distance_of_tensors(tensor, tensor.clone()) == SAME


@pytest.mark.parametrize(
    "other",
    [ROW.double(), ROW[None], torch.tensor([1.0, -0.0, -2.0]), torch.tensor([1.0, 0.0, math.nan]), ROW.to("meta")],
)
def test_another_dtype_shape_device_or_bit_is_not_the_same(other: Tensor) -> None:
    assert not same_tensor(ROW, other)


def test_tensors_without_numbers_are_the_same_by_shape_and_dtype() -> None:
    assert same_tensor(ROW.to("meta"), torch.empty(3, device="meta"))
    assert not same_tensor(ROW.to("meta"), torch.empty(4, device="meta"))


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (ROW, torch.tensor([1.5, 0.0, -2.0]), Distance(0.5, 0.25, 2**22, False, False)),
        (ROW, ROW.double(), Distance(0.0, 0.0, None, False, True)),
        (ROW, torch.tensor([1.0, -0.0, -2.0]), Distance(0.0, 0.0, 0, False, True)),
        (ROW, torch.tensor([1.0, math.nan, -2.0]), NOT_COMPARABLE),
        (ROW.to_sparse(), ROW + 1, Distance(1.0, 0.5, 2**23, False, False)),
        (torch.tensor([True]), torch.tensor([False]), Distance(1.0, 1.0, None, False, False)),
        (torch.tensor([2**60]), torch.tensor([2**60 + 1]), Distance(1.0, 2.0**-60, None, False, False)),
        (torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]), Distance(4.0, 4 / math.sqrt(5), None, False, False)),
    ],
)
def test_the_distance_of_two_tensors_is_measured_on_their_elements(one: Tensor, other: Tensor, found: Distance) -> None:
    assert distance_of_tensors(one, other) == found


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_numbers_of_a_nested_tensor_stand_in_a_row_and_its_parts_have_shapes() -> None:
    nested = torch.nested.nested_tensor([ROW, ROW[:2]])
    assert dense(nested).tolist() == [1.0, 0.0, -2.0, 1.0, 0.0]
    assert not same_tensor(nested, torch.nested.nested_tensor([ROW[:2], torch.tensor([-2.0, 1.0, 0.0])]))
