"""Weights go from one model into another by name, by place and by shape, and what was not copied is named."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fwdtrace.compare.runs import Runnable, compare_runs
from fwdtrace.compare.weights import copy_weights


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (4,), self.gain, eps=1e-6)


class Tokens(nn.Module):
    def __init__(self, norm: nn.Module, first: str) -> None:
        super().__init__()
        self.register_parameter(first, nn.Parameter(torch.randn(1, 1, 4)))
        self.first = first
        self.add_module(f"{first}_norm", norm)

    def forward(self, x: Tensor) -> Tensor:
        start: Tensor = getattr(self, self.first)
        return getattr(self, f"{self.first}_norm")(torch.cat([start, x], 1))  # type: ignore[no-any-return]


def test_weights_of_other_names_in_modules_of_other_classes_are_copied_by_shape() -> None:
    model, port = Tokens(nn.RMSNorm(4, eps=1e-6), "cls_token"), Tokens(Norm(), "start")
    x = torch.randn(1, 2, 4)
    said = copy_weights(Runnable(model, (x,), {}), Runnable(port, (x,), {}))
    assert said == "2 of 2 weights of the second are copies of the first's, 2 of them by where they are used"
    assert compare_runs(Runnable(model, (x,), {}), Runnable(port, (x,), {})).equal


class NormAndActivation(nn.BatchNorm1d):
    def __init__(self) -> None:
        super().__init__(4)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(super().forward(x))  # type: ignore[no-any-return]


def test_a_norm_with_its_activation_gets_the_weights_of_the_norm_and_is_not_compared_with_it() -> None:
    model = nn.Sequential(OrderedDict(a=nn.Linear(4, 4), b=nn.BatchNorm1d(4), c=nn.ReLU(), d=nn.Linear(4, 2)))
    port = nn.Sequential(OrderedDict(one=nn.Linear(4, 4), two=NormAndActivation(), three=nn.Linear(4, 2)))
    nn.init.normal_(model.b.weight)
    sides = Runnable(model.eval(), (torch.randn(3, 4),), {}), Runnable(port.eval(), (torch.randn(3, 4),), {})
    said = copy_weights(*sides)
    assert said == "9 of 9 weights of the second are copies of the first's, 9 of them by where they are used"
    found = compare_runs(sides[0], replace(sides[1], args=sides[0].args))
    assert found.equal, found.verdict


def test_what_is_no_tensor_in_a_state_dict_is_left_alone() -> None:
    class Counted(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"steps": 3}

        def set_extra_state(self, state: Any) -> None:
            assert state == {"steps": 3}

    model, port = (nn.ModuleDict({name: Counted(2, 2)}) for name in "aa")
    said = copy_weights(Runnable(model, (), {}), Runnable(port, (), {}))
    assert said == "2 of 2 weights of the second are copies of the first's"


def test_a_weight_without_a_shape_so_far_is_left_alone() -> None:
    model, port = (nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 2)) for _ in range(2))
    said = copy_weights(Runnable(model, (), {}), Runnable(port, (), {}))
    assert said == "2 of 2 weights of the second are copies of the first's"


def test_weights_that_could_be_any_of_several_are_left() -> None:
    model, port = (nn.ModuleDict({name: nn.Linear(2, 2) for name in names}) for names in ("ab", "cd"))
    said = copy_weights(Runnable(model, (), {}), Runnable(port, (), {}))
    assert said.startswith("0 of 4 weights of the second are copies of the first's; 4 left as they were: c.weight")


def test_the_copied_weights_are_counted_and_those_left_are_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    other = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 4)})
    text = copy_weights(Runnable(model, (), {}), Runnable(other, (), {}), ["0=a", "1=b"])
    assert text == (
        "2 of 4 weights of the second are copies of the first's; 2 left as they were: b.weight, b.bias; "
        "2 of the first not used: 1.weight, 1.bias"
    )
    assert torch.equal(other["a"].weight, model[0].weight)
