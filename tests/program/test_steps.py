"""The norm of the gradients before a step: finite if and only if all of their elements are, of whatever type."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import fwdtrace
from fwdtrace.program.steps import norm_of

ONES = torch.ones(4)


@pytest.mark.parametrize(
    ("gradients", "norm"),
    [
        ([ONES, 2 * ONES], math.sqrt(20)),
        ([ONES.half() * 60000], 120000.0),
        ([ONES.double() * 1e200, ONES], 2e200),
        ([ONES * 1e30], 2e30),
        ([ONES.to(torch.complex64), ONES.bfloat16()], math.sqrt(8)),
        ([ONES.to_sparse(), ONES], math.sqrt(8)),
        ([ONES.to(torch.float8_e4m3fn)], 2.0),
        ([torch.ones(0), ONES], 2.0),
        ([torch.ones(4, device="meta")], 0.0),
        ([], 0.0),
    ],
)
def test_the_norm_is_that_of_all_elements(gradients: list[torch.Tensor], norm: float) -> None:
    assert norm_of(gradients) == pytest.approx(norm)


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_the_norm_is_not_finite_if_one_element_is_not(kind: torch.dtype, wrong: float) -> None:
    assert not math.isfinite(norm_of([ONES.to(kind), torch.tensor([1.0, wrong]).to(kind)]))


@pytest.mark.parametrize("kind", [torch.float64, torch.complex64])
def test_a_model_of_any_type_trains_under_watch(kind: torch.dtype) -> None:
    net = nn.Linear(2, 1, dtype=kind)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with fwdtrace.watch() as watch:
        for factor in (1.0, math.nan):
            optimizer.zero_grad()
            net(torch.ones(3, 2, dtype=kind) * factor).abs().sum().backward()
            optimizer.step()
    assert [trace.run.call for trace in watch.traces] == [2]
