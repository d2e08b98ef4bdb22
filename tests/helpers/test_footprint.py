"""The check that runs after every test notices each thing that it must, as each is left behind here on purpose."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers import footprint
from tests.helpers.models import Chain


@contextmanager
def replaced(owner: object, name: str) -> Iterator[None]:
    """Another function in place of `owner.name` for as long as the block runs."""
    before = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: before(*args, **kwargs))
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def added_method(owner: type, name: str) -> Iterator[None]:
    """A method that the class did not have."""
    setattr(owner, name, lambda self, *args: None)
    try:
        yield
    finally:
        delattr(owner, name)


@contextmanager
def global_hook() -> Iterator[None]:
    """A global forward pre-hook."""
    handle = torch_module.register_module_forward_pre_hook(lambda module, args: None)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def profile_function() -> Iterator[None]:
    """A profile function of this thread."""
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, argument: None)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextmanager
def deeper_recursion() -> Iterator[None]:
    """A raised recursion limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + 1)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


LEFT: dict[str, Callable[[], object]] = {
    "Module.__call__": lambda: replaced(nn.Module, "__call__"),
    "Module.__init__": lambda: replaced(nn.Module, "__init__"),
    "Module.__setattr__": lambda: replaced(nn.Module, "__setattr__"),
    "Linear.forward": lambda: replaced(nn.Linear, "forward"),
    "Linear.__call__": lambda: added_method(nn.Linear, "__call__"),
    "Chain.forward": lambda: replaced(Chain, "forward"),
    "torch.nn.functional.relu": lambda: replaced(torch.nn.functional, "relu"),
    "torch.flatten": lambda: replaced(torch, "flatten"),
    "Tensor.flatten": lambda: added_method(torch.Tensor, "flatten"),
    "_global_forward_pre_hooks contents": global_hook,
    "sys.getprofile": profile_function,
    "sys.getrecursionlimit": deeper_recursion,
    "torch function modes": TorchFunctionMode,
    "torch dispatch modes": TorchDispatchMode,
    "grad mode": torch.no_grad,
}


@pytest.mark.parametrize("thing", LEFT)
def test_what_is_left_behind_is_named(thing: str) -> None:
    before = footprint.of_the_process()
    with LEFT[thing]():
        assert footprint.changes(before, footprint.of_the_process()) == [thing]
    assert footprint.changes(before, footprint.of_the_process()) == []


def test_code_of_the_recorder_on_a_class_that_is_new_is_named() -> None:
    before = footprint.of_the_process()
    wrapper = compile("def forward(self, x): return x", f"{footprint.OWN_CODE}/made_up.py", "exec")
    names: dict[str, Callable[..., object]] = {}
    exec(wrapper, names)
    new = type("New", (nn.Module,), {"forward": names["forward"]})
    assert footprint.changes(before, footprint.of_the_process()) == ["New.forward"]
    del new.forward


def test_a_new_class_is_nothing_left_behind() -> None:
    before = footprint.of_the_process()
    new = type("New", (nn.Module,), {"forward": lambda self, x: x})
    assert footprint.changes(before, footprint.of_the_process()) == []
    assert new.__name__ == "New"


def test_a_hook_an_attribute_and_a_forward_on_a_module_are_part_of_the_models_picture() -> None:
    model = Chain()
    before = footprint.of_a_model(model)
    handle = model.first.register_forward_hook(lambda module, args, result: None)
    hooked = footprint.of_a_model(model)
    handle.remove()
    model.second.note = "left"
    noted = footprint.of_a_model(model)
    del model.second.note
    assert hooked["first"] != before["first"]
    assert noted["second"] != before["second"]
    assert footprint.of_a_model(model) == before


def test_torchvision_is_importable() -> None:
    import torchvision

    assert torchvision.models.resnet18().fc.out_features == 1000
