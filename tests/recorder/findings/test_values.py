"""FT005 and FT009 on small models that make NaN or whose hooks change values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import fwdtrace
from tests.helpers.recorded import recorded

X = torch.ones(2, 4)


def test_a_model_whose_values_are_finite_has_no_finding() -> None:
    assert recorded(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), X, ops=True, check_finite=True).findings == ()


class Divides(nn.Module):
    """A layer, and a division by the norm of what may be zero."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        x = x - x
        return x / x.norm()


def test_a_division_by_zero_is_found_by_its_line() -> None:
    (finding,) = recorded(Divides(), X, ops=True, check_finite=True).findings
    assert finding.message == "/ in the model made 8 NaN of 8 elements out of finite inputs: its divisor is 0 there"
    assert finding.site is not None and finding.site.code == "return x / x.norm()"


def test_without_ops_the_module_is_found() -> None:
    (finding,) = recorded(Divides(), X, check_finite=True).findings
    assert finding.message == "the model (Divides) made 8 NaN of 8 elements out of finite inputs"


def test_attention_under_a_mask_is_no_finding() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mask = torch.triu(torch.full((4, 4), float("-inf")), diagonal=1)
            return torch.softmax(x + mask, dim=-1)

    assert recorded(Masked(), torch.rand(4, 4), ops=True, check_finite=True).findings == ()


def test_a_weight_with_nan_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    with torch.no_grad():
        model[1].bias[0] = float("nan")
    (finding,) = recorded(model, X, ops=True, check_finite=True).findings
    assert finding.message == "1 (Linear) made 2 NaN of 6 elements with non-finite values in its bias"


def test_a_weight_with_nan_that_an_op_was_given_is_named_by_its_path() -> None:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.next = nn.Parameter(torch.tensor([1.0, float("nan"), 1.0, 1.0])), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.next(self.scale * x)  # type: ignore[no-any-return]

    model = nn.Sequential(nn.Linear(4, 4), Scales())
    (finding,) = recorded(model, X, ops=True, check_finite=True).findings
    assert finding.message == "* in 1 made 2 NaN of 8 elements with non-finite values in 1.scale"


def halve(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(arg[:1].double() for arg in args)


def pair(module: nn.Module, args: Any, output: Tensor) -> tuple[Tensor, None]:
    return output, None


def test_real_hooks_are_named_with_the_old_and_the_new_value() -> None:
    model = nn.Sequential(nn.Linear(4, 4, dtype=torch.float64))
    model[0].register_forward_pre_hook(halve)
    model[0].register_forward_hook(pair)
    with fwdtrace.record(model) as recording:
        model(X)
    first, second = recording.trace.findings
    assert first.message == "the hook halve replaced the input of 0: 2×4 float32 became 1×4 float64"
    assert second.message == "the hook pair replaced the output of 0: 1×4 float64 became 1×4 float64 and None"
    assert first.site is not None and first.site.line == halve.__code__.co_firstlineno
