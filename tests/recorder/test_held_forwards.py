"""A forward that others hold, replace or decorate is recorded each time that it runs, and stays what it was."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fwdtrace
from tests.helpers.recorded import entries, recorded

X = torch.ones(2, 4)


@dataclass(slots=True)
class Slot:
    """An object without a dict."""

    run: Any


class Holder(nn.Module):
    """Keeps the forward of its layer somewhere, and runs it from there."""

    def __init__(self, keep: Callable[[nn.Module], Any], take: Callable[[Any], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.kept, self.take = keep(self.layer), take

    def forward(self, x: Tensor) -> Tensor:
        return self.take(self.kept)(x)


def closure_over(forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: forward(x)


PLACES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "attribute": (lambda layer: layer.forward, lambda kept: kept),
    "nested tuple": (lambda layer: (1, (layer.forward,)), lambda kept: kept[1][0]),
    "dict of lists": (lambda layer: {"a": [layer.forward]}, lambda kept: kept["a"][0]),
    "set": (lambda layer: {layer.forward}, lambda kept: next(iter(kept))),
    "partial": (lambda layer: functools.partial(layer.forward), lambda kept: kept),
    "partial of the class's": (lambda layer: functools.partial(type(layer).forward, layer), lambda kept: kept),
    "namespace": (lambda layer: types.SimpleNamespace(run=layer.forward), lambda kept: kept.run),
    "slot": (lambda layer: Slot(layer.forward), lambda kept: kept.run),
    "closure": (lambda layer: closure_over(layer.forward), lambda kept: kept),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_bound_forward_is_seen_wherever_it_is_kept(place: str) -> None:
    model = Holder(*PLACES[place])
    kept = model.kept
    trace = recorded(model, X)
    assert entries(trace) == [("", "__call__"), ("layer", "forward")]
    assert [leaf.name for leaf in trace.calls[1].inputs] == ["input"]
    assert model.kept is kept


def test_the_forward_of_one_module_set_on_another_is_a_direct_call_of_the_first() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].forward = model[1].forward
    assert entries(recorded(model, X)) == [
        ("", "__call__"), ("0", "__call__"), ("1", "forward"), ("1", "__call__"),
    ]  # fmt: skip


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor, scale: float = 1.0, *, shift: Tensor | None = None) -> Tensor:
        return self.inner(x) * scale


ONE_CALL = [("", "__call__"), ("0", "__call__"), ("0.inner", "__call__")]


def plus_one(found: Callable[..., Any]) -> Callable[..., Any]:
    def theirs(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return found(self, *args, **kwargs) + 1

    return theirs


@pytest.fixture
def layers_own() -> Iterator[Any]:
    own = Layer.__dict__["forward"]
    code, attributes = own.__code__, dict(own.__dict__)
    yield own
    assert Layer.__dict__["forward"] is own
    assert (own.__code__, own.__dict__) == (code, attributes)


@pytest.mark.parametrize("order", ["within", "begun before", "ended after"])
def test_a_forward_that_is_patched_is_one_call_in_any_order(layers_own: Any, order: str) -> None:
    model = nn.Sequential(Layer())
    patch = mock.patch.object(Layer, "forward", plus_one(layers_own))
    recording = fwdtrace.record(model)
    first, second = (patch, recording) if order == "begun before" else (recording, patch)
    first.__enter__()
    second.__enter__()
    model(X)
    for context in (first, second) if order == "ended after" else (second, first):
        context.__exit__(None, None, None)
    assert entries(recording.trace) == ONE_CALL
    assert recording.trace.findings == ()


def test_a_forward_replaced_on_the_instance_in_the_block_stays_and_is_one_call(layers_own: Any) -> None:
    model = nn.Sequential(Layer())
    with fwdtrace.record(model) as recording:
        theirs = types.MethodType(plus_one(model[0].forward.__func__), model[0])
        model[0].forward = theirs
        model(X)
    assert model[0].forward is theirs
    assert entries(recording.trace) == ONE_CALL


class Checkpointed(nn.Module):
    """As transformers' layers: hands the forward that a class defines to activation checkpointing."""

    def __init_subclass__(cls) -> None:
        forward = cls.forward

        @functools.wraps(forward)
        def with_checkpointing(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return checkpoint(functools.partial(forward, self, **kwargs), *args, use_reentrant=False)

        cls.forward = with_checkpointing  # type: ignore[method-assign]


def test_what_checkpointing_runs_again_in_backward_has_a_row_with_its_parts_below() -> None:
    class Block(Checkpointed):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    model = nn.Sequential(Block())
    with fwdtrace.record(model) as recording:
        model(X.clone().requires_grad_()).sum().backward()
    assert [(call.path, call.nth, call.parent, call.in_backward) for call in recording.trace.calls] == [
        ("", 1, None, False), ("0", 1, 0, False), ("0.inner", 1, 1, False),
        ("0", 2, None, True), ("0.inner", 2, 3, False),
    ]  # fmt: skip
    assert recording.trace.findings == ()


def test_a_direct_call_shows_what_it_was_given_and_no_defaults() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Layer()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.forward(x) + self.layer.forward(x, shift=x)

    calls = [call for call in recorded(Net(), X).calls if call.path == "layer"]
    assert [[leaf.name for leaf in call.inputs] for call in calls] == [["x"], ["x", "shift"]]


class Down(nn.Module):
    """Calls itself until nothing is left."""

    def forward(self, x: Tensor, left: int = 2) -> Tensor:
        return Down.forward(self, x, left - 1) if left else x


def test_a_decorated_forward_that_calls_itself_has_a_call_each_time() -> None:
    def passing(found: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(found)(lambda module, x, left=2: found(module, x, left))

    class DecoratesItsBases(Down):
        forward = passing(Down.forward)

    for model in (Down(), DecoratesItsBases()):
        assert [(call.entry, call.depth) for call in recorded(model, X).calls] == [
            ("__call__", 0),
            ("forward", 1),
            ("forward", 2),
        ]
