"""The result of a costly operation is taken for the same numbers alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fwdtrace.compare.parting import known_results
from fwdtrace.compare.parting.known_results import KnownResults


class Counted:
    """A matrix product that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        self.runs += 1
        return one @ other


@pytest.fixture
def product(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(known_results, "_COSTLY", frozenset((counted,)))
    return counted


def given() -> tuple[Tensor, Tensor]:
    return torch.arange(9.0).view(3, 3), torch.eye(3)


def test_the_same_numbers_have_a_known_result_once(product: Counted) -> None:
    known = KnownResults()
    first = known.result_of(product, given(), {})
    first.zero_()  # as an activation does that works in place
    again = known.result_of(product, given(), {})
    assert product.runs == 1
    assert torch.equal(again, given()[0])
    known.result_of(product, given(), {})
    assert product.runs == 2


@pytest.mark.parametrize(
    "other",
    [
        lambda one, two: (one + 1, two),
        lambda one, two: (one.t().contiguous().t(), two),
        lambda one, two: (one[:2], two),
        lambda one, two: (one.double(), two.double()),
    ],
    ids=["other numbers", "stored otherwise", "another shape", "another dtype"],
)
def test_anything_else_has_none(product: Counted, other: Any) -> None:
    known = KnownResults()
    known.result_of(product, given(), {})
    arguments = other(*given())
    assert torch.equal(known.result_of(product, arguments, {}), arguments[0])
    assert product.runs == 2


def test_what_has_been_written_into_since_says_nothing(product: Counted) -> None:
    known = KnownResults()
    one, two = given()
    known.result_of(product, (one, two), {})
    one.add_(1)
    assert torch.equal(known.result_of(product, (one, two), {}), one)
    assert torch.equal(known.result_of(product, given(), {}), given()[0])
    assert product.runs == 3


def test_no_more_is_kept_than_there_is_room_for(product: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_results, "_MOST_BYTES", 4 * 9)
    known = KnownResults()
    for _ in range(3):  # kept, taken, kept
        known.result_of(product, given(), {})
    known.result_of(product, (given()[0] + 1, given()[1]), {})
    known.result_of(product, (given()[0] + 1, given()[1]), {})
    assert product.runs == 4
