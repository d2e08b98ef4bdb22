"""Without values a product or a norm takes the dtypes that it takes with values, and no others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.recorder.same_dtypes import SameDtypes

Run = Callable[[torch.dtype], Tensor]

RUNS: dict[str, Run] = {
    "linear": lambda dtype: nn.Linear(4, 2)(torch.zeros(3, 4, dtype=dtype)),
    "linear without a bias": lambda dtype: nn.Linear(4, 2, bias=False)(torch.zeros(3, 5, 4, dtype=dtype)),
    "product": lambda dtype: torch.zeros(3, 4) @ torch.zeros(4, 2, dtype=dtype),
    "convolution": lambda dtype: nn.Conv2d(3, 4, 1, bias=False)(torch.zeros(1, 3, 2, 2, dtype=dtype)),
    "transposed": lambda dtype: nn.ConvTranspose1d(3, 4, 1)(torch.zeros(1, 3, 2, dtype=dtype)),
    "layer norm": lambda dtype: nn.LayerNorm(4)(torch.zeros(3, 4, dtype=dtype)),
    "batch norm": lambda dtype: nn.BatchNorm1d(4).eval()(torch.zeros(3, 4, dtype=dtype)),
    "group norm": lambda dtype: nn.GroupNorm(2, 4)(torch.zeros(3, 4, dtype=dtype)),
    "embedding": lambda dtype: nn.Embedding(4, 2)(torch.zeros(3, dtype=torch.long)),
    "sum": lambda dtype: torch.zeros(3) + torch.zeros(3, dtype=dtype),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("name", RUNS)
def test_what_raises_with_values_raises_without(name: str, dtype: torch.dtype) -> None:
    assert runs(name, dtype, "cpu") == runs(name, dtype, "meta")


def test_autocast_converts_with_values_alone() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert runs("linear", torch.bfloat16, "meta")


def runs(name: str, dtype: torch.dtype, device: str) -> bool:
    try:
        with torch.no_grad(), torch.device(device), SameDtypes() if device == "meta" else nullcontext():
            RUNS[name](dtype)
    except (RuntimeError, NotImplementedError):
        return False
    return True
