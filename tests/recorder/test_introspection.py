"""What the program can see of an observed function, and where its warnings go."""

from __future__ import annotations

import builtins
import inspect
import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace

X = torch.ones(2, 4)


class Layer(nn.Module):
    def forward(self, x: Tensor, mask: Any = None, /, *rest: int, scale: float = 2.0, **more: Any) -> Tensor:
        product = x * scale
        return product


def facts_of(function: Any) -> dict[str, Any]:
    code = function.__code__
    return {
        "full": inspect.getfullargspec(function),
        "signature": inspect.signature(function),
        "unwrapped": inspect.signature(function, follow_wrapped=False),
        "source": inspect.getsource(function),
        "names": code.co_varnames[: code.co_argcount + 3],
        "counts": (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        "defaults": (function.__defaults__, function.__kwdefaults__, function.__annotations__),
        "called": (function.__name__, function.__qualname__, function.__module__, code.co_name, code.co_freevars),
    }


class Inherits(Layer):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


@pytest.mark.parametrize("cls", [Layer, Inherits, nn.Linear, nn.LSTM])
def test_a_forward_under_observation_looks_as_it_does_without(cls: type[nn.Module]) -> None:
    model = cls(4, 4) if cls.__module__.startswith("torch") else cls()
    before, in_builtins = facts_of(model.forward), set(dir(builtins))
    with fwdtrace.record(model):
        assert facts_of(model.forward) == before
    assert facts_of(model.forward) == before
    assert "__wrapped__" not in vars(cls.forward)
    assert set(dir(builtins)) == in_builtins


def test_wrong_arguments_raise_what_they_raise_without() -> None:
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(TypeError) as bare:
        model(X, X)
    with fwdtrace.record(model), pytest.raises(TypeError) as observed:
        model(X, X)
    assert str(observed.value) == str(bare.value)


class Warns(nn.Module):
    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("old", DeprecationWarning, stacklevel=self.level)
        return x


def warned(model: nn.Module) -> list[tuple[str, int]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model(X)
    return [(warning.filename, warning.lineno) for warning in caught]


@pytest.mark.parametrize("level", range(1, 9))
def test_a_warning_names_the_line_that_it_names_without(level: int) -> None:
    model = nn.Sequential(Warns(level))
    model[0].register_forward_pre_hook(lambda module, args: None)
    observed = []
    for recording in (None, fwdtrace.record(model)):
        with recording or nullcontext():
            observed.append(warned(model))
    assert observed[0] == observed[1]


def test_a_filter_for_the_module_that_calls_still_holds() -> None:
    model = Warns(2)
    with warnings.catch_warnings(record=True) as caught, fwdtrace.record(model):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=DeprecationWarning, module=__name__.replace(".", r"\."))
        model.forward(X)
    assert [warning.filename for warning in caught] == [__file__]


class Counts(torch.overrides.TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function.__name__)
        return function(*args, **(kwargs or {}))


def test_a_mode_that_is_on_around_the_block_sees_none_of_our_reads() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with Counts() as bare:
        model(X)
    options = {"stats": True, "check_finite": True, "gradients": True}
    with Counts() as observed, fwdtrace.record(model, **options):
        model(X)
    assert observed.names == bare.names
