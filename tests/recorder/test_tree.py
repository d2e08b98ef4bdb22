"""The tree of a model: names, counts of parameters, judged against torch's own walks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fwdtrace.recorder.tree import count_parameters, first_parameter, modules_and_names, sizes_of


def tied() -> nn.Module:
    """Two layers with one weight, one of them under two names, and a layer that is not initialised."""
    inner = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    inner[1].weight = inner[0].weight
    return nn.ModuleDict({"a": inner, "b": nn.Sequential(inner, nn.LazyLinear(3)), "c": nn.Linear(4, 2)})


def cyclic() -> nn.Module:
    root, child = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 3))
    root.add_module("child", child)
    child.add_module("root", root)
    return root


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()))


MODELS = [tied, cyclic, plain, nn.Identity]


def by_torch(module: nn.Module) -> int:
    lazy = nn.parameter.UninitializedParameter
    return sum(parameter.numel() for parameter in module.parameters() if not isinstance(parameter, lazy))


@pytest.mark.parametrize("make", MODELS)
def test_every_module_has_the_parameters_that_torch_counts_in_it(make: Callable[[], nn.Module]) -> None:
    model = make()
    counts = sizes_of(model).counts
    assert counts == {id(module): by_torch(module) for module in model.modules()}
    assert count_parameters(model) == counts[id(model)]


@pytest.mark.parametrize("make", MODELS)
def test_modules_come_in_the_order_of_named_modules_with_all_their_names(make: Callable[[], nn.Module]) -> None:
    model = make()
    named = modules_and_names(model)
    assert [(names[0], module) for module, names in named] == list(model.named_modules())
    further = {id(module): [name for name, other in all_names(model) if other is module] for module, _ in named}
    assert {id(module): list(names) for module, names in named} == further


def all_names(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every name of every module, no module entered again inside itself."""

    def walk(module: nn.Module, name: str, above: tuple[int, ...]) -> None:
        if id(module) in above:
            return
        found.append((name, module))
        for key, child in module._modules.items():
            if child is not None:
                walk(child, f"{name}.{key}".lstrip("."), (*above, id(module)))

    found: list[tuple[str, nn.Module]] = []
    walk(model, "", ())
    return found


@pytest.mark.parametrize("make", MODELS)
def test_the_first_parameter_is_torchs_first(make: Callable[[], nn.Module]) -> None:
    model = make()
    assert first_parameter(model) is next(model.parameters(), None)


def test_a_module_under_very_many_names_keeps_some_of_them() -> None:
    model: nn.Module = nn.Linear(1, 1)
    for _ in range(30):
        model = nn.ModuleList([model, model])
    assert [len(names) for _, names in modules_and_names(model)] == [1, 2, 4, 8, *[9] * 27]
    assert sizes_of(model).counts[id(model)] == 2


def test_a_tree_of_a_thousand_levels_is_walked_without_recursion() -> None:
    model: nn.Module = nn.Linear(2, 2)
    for _ in range(1000):
        model = nn.Sequential(model)
    assert set(sizes_of(model).counts.values()) == {6}
    assert modules_and_names(model)[-1][1] == (".".join("0" * 1000),)
    assert isinstance(first_parameter(model), torch.Tensor)
