"""What two modules do not have alike is said in words, one thing each; their submodules are not looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fwdtrace.compare.modules import differences_of_modules, differences_of_settings


class Wide(nn.Linear):
    pass


class Silent(nn.Linear):
    def extra_repr(self) -> str:
        raise ValueError("no text")


def linear(cls: type[nn.Linear] = nn.Linear, width: int = 2, bias: bool = True, first: float = 1.0) -> nn.Linear:
    layer = cls(2, width, bias=bias)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        layer.weight[0, 0] = first
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (lambda: linear(), []),
        (lambda: linear(first=1.5), ["weight differs by up to 0.5"]),
        (lambda: linear(first=float("nan")), ["weight differs"]),
        (lambda: linear(Wide), ["Linear became Wide"]),
        (lambda: linear().eval(), ["mode (train) became (eval)"]),
        (
            lambda: linear(bias=False),
            [
                "settings (bias=True) became (bias=False)",
                "bias is only in the first",
            ],
        ),
        (
            lambda: linear(width=3),
            [
                "settings (out_features=2) became (out_features=3)",
                "weight is [2, 2] and [3, 2]",
                "bias is [2] and [3]",
            ],
        ),
    ],
)
def test_class_settings_mode_parameters_and_shapes_are_compared(
    other: Callable[[], nn.Module], found: list[str]
) -> None:
    assert list(differences_of_modules(linear(), other())) == found


def test_only_the_settings_that_are_not_alike_are_told() -> None:
    one, other = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=(1, 2))
    assert list(differences_of_settings(one, other)) == ["settings (padding=(1, 1)) became (padding=(1, 2))"]
    assert list(differences_of_settings(nn.LayerNorm(4), nn.LayerNorm(4, eps=0.1))) == [
        "settings (eps=1e-05) became (eps=0.1)"
    ]
    more = list(differences_of_settings(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=2)))
    whole = "(4, 4, kernel_size=(3, 3), stride=(1, 1)"
    assert more == [f"settings {whole}) became {whole}, groups=2)", "groups 1 became 2"]


def test_attributes_are_told_in_the_order_in_which_the_first_module_got_them() -> None:
    one, other = nn.Identity(), nn.Identity()
    names = ["momentum", "eps", "scale", "depth", "rate", "bound", "alpha", "beta"]
    for name in names:
        setattr(one, name, 1)
        setattr(other, name, 2)
    assert list(differences_of_settings(one, other)) == [f"{name} 1 became 2" for name in names]


def test_settings_of_two_classes_are_compared_where_both_name_them() -> None:
    assert list(differences_of_modules(nn.ReLU(), nn.Softmax(1))) == ["ReLU became Softmax"]
    assert list(differences_of_settings(nn.RMSNorm(4, 0.1), nn.LayerNorm(4))) == [
        "settings (eps=0.1) became (eps=1e-05)"
    ]
    lstm, linear_layer = nn.LSTM(2, 3), nn.Linear(2, 3)
    assert list(differences_of_modules(lstm, linear_layer)) == ["LSTM became Linear"]


def test_a_module_whose_settings_cannot_be_told_has_none() -> None:
    assert list(differences_of_modules(linear(Silent), linear(Silent))) == []


def test_weights_without_numbers_and_weights_of_submodules_are_left_out() -> None:
    assert list(differences_of_modules(nn.LazyLinear(2), nn.LazyLinear(2))) == []
    assert list(differences_of_modules(nn.Sequential(linear()), nn.Sequential(linear(first=9.0)))) == []
