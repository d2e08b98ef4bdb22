"""The sum of what a call gives, by which is seen whether all of it is finite."""

from __future__ import annotations

import math

import torch

from fwdtrace.program.passes import sum_of


def test_a_sum_is_finite_if_all_elements_are() -> None:
    assert sum_of(torch.tensor([1.0, 2.5])) == 3.5
    assert math.isnan(sum_of(torch.tensor([1.0, math.nan])) or 0.0)
    assert sum_of(torch.tensor([1.0, -math.inf])) == -math.inf


def test_a_sum_of_small_numbers_is_not_beyond_their_type() -> None:
    assert sum_of(torch.full((4,), 60000.0, dtype=torch.float16)) == 240000
    assert sum_of(torch.ones(4).to(torch.float8_e4m3fn)) == 4
    assert sum_of(torch.ones(4, dtype=torch.complex64)) == 4


def test_what_has_no_numbers_has_no_sum() -> None:
    given_back = torch.randn(2000, 2000)
    given_back.untyped_storage().resize_(0)
    assert sum_of(given_back) is None
    assert sum_of(torch.ones(3, device="meta")) is None
    assert sum_of(torch.arange(3)) is None
