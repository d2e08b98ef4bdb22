"""The recorder where torch or a library does something unusual with `forward`, `__call__` or the module itself."""

from __future__ import annotations

import copy
import functools
import io
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

import fwdtrace
from tests.helpers.models import Chain
from tests.helpers.recorded import entries, recorded

X = torch.ones(2, 4)


pytestmark = pytest.mark.usefixtures("dynamo")


CHAIN = [("", "__call__"), ("first", "__call__"), ("second", "__call__")]


class Remembers:
    """As transformers' layers do: a forward that asks whether the class's forward is still itself."""

    def __init_subclass__(cls) -> None:
        forward = cls.forward  # type: ignore[attr-defined]

        @functools.wraps(forward)
        def outermost(self: nn.Module, x: Tensor) -> Tensor:
            self.was_outermost = type(self).forward is outermost
            return forward(self, x)

        cls.forward = outermost  # type: ignore[attr-defined]


def test_a_forward_that_checks_its_own_identity_still_finds_itself() -> None:
    class Layer(Remembers, nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Layer()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.forward(self.layer(x))

    model = Net()
    before = Layer.forward
    trace = recorded(model, X)
    assert model.layer.was_outermost is True
    assert entries(trace) == [("", "__call__"), ("layer", "__call__"), ("layer", "forward")]
    assert Layer.forward is before and before.__closure__ is not None
    assert before in [cell.cell_contents for cell in before.__closure__]


def test_a_graph_module_is_recorded() -> None:
    assert entries(recorded(fx.symbolic_trace(Chain()), X)) == CHAIN


def test_lazy_modules_get_their_shapes_and_their_hooks_are_gone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.LazyLinear(3))
    trace = recorded(model, X)
    assert trace.calls[1].parameters == 15
    assert [hook.name for hook in trace.calls[1].hooks if hook.kind == "forward_pre" and hook.fired] == [
        "torch.nn.modules.lazy.LazyModuleMixin._infer_parameters"
    ]
    assert not model[0]._forward_pre_hooks


@pytest.mark.parametrize("how", ["bound", "partial", "lambda"])
def test_a_forward_wrapped_on_the_instance_as_accelerate_does(how: str) -> None:
    model = Chain()
    layer = model.first
    layer._old_forward = layer.forward

    def new_forward(module: Any, x: Tensor) -> Tensor:
        return module._old_forward(x) + 1

    layer.forward = {
        "bound": new_forward.__get__(layer),
        "partial": functools.update_wrapper(functools.partial(new_forward, layer), layer.forward),
        "lambda": lambda x: new_forward(layer, x),
    }[how]
    expected = model(X)
    replaced = layer.forward
    with fwdtrace.record(model) as recording:
        assert torch.equal(model(X), expected)
    assert entries(recording.trace) == CHAIN
    assert layer.forward is replaced or layer.forward == replaced
    assert layer._old_forward == nn.Linear.forward.__get__(layer)


def test_a_direct_call_of_a_forward_wrapped_on_the_instance_is_seen() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.layer._old_forward = self.layer.forward
            self.layer.forward = lambda x: self.layer._old_forward(x)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.forward(x)

    assert entries(recorded(Net(), X)) == [("", "__call__"), ("layer", "forward")]


def test_a_copy_made_during_forward_is_of_the_original() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.captured = self.layer.forward
            self.layer.register_forward_hook(adds_one)

        def forward(self, x: Tensor) -> Tensor:
            copies.append(copy.deepcopy(self))
            copies.append(pickle.loads(pickle.dumps(self)))
            return self.captured(self.layer(x))

    globals()["Net"] = Net
    Net.__qualname__ = "Net"
    copies: list[Net] = []
    model = Net()
    recorded(model, X)
    for made in copies:
        assert list(made.layer._forward_hooks.values()) == [adds_one]
        assert type(made.captured).__name__ == "method"
        assert made.captured.__func__ is nn.Linear.forward or made.captured.__func__.fwdtrace_original  # type: ignore[attr-defined]
        assert made.captured.__self__ is made.layer


def adds_one(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output + 1


def test_checkpoint_recomputation_in_backward_is_recorded_and_is_no_error() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.layer, x, use_reentrant=False)

    model = Net()
    with fwdtrace.record(model) as recording:
        model(X).sum().backward()
    calls = recording.trace.calls
    assert [(call.path, call.nth, call.parent) for call in calls][:4] == [
        ("", 1, None),
        ("layer", 1, 0),
        ("layer.0", 1, 1),
        ("layer.1", 1, 1),
    ]
    assert [(call.path, call.nth) for call in calls][4:6] == [("layer", 2), ("layer.0", 2)]
    assert all(call.error is None for call in calls)


def test_a_forward_that_is_a_generator_records_what_runs_while_it_is_iterated() -> None:
    class Base(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Iterator[Tensor]:
            yield self.layer(x)

    class Derived(Base):
        def forward(self, x: Tensor) -> Iterator[Tensor]:
            yield from super().forward(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = Derived()

        def forward(self, x: Tensor) -> list[Tensor]:
            return list(self.steps(x))

    assert entries(recorded(Net(), X)) == [("", "__call__"), ("steps", "__call__"), ("steps.layer", "__call__")]


def test_a_function_mode_of_the_users_is_not_told_of_our_looking() -> None:
    class Counts(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(function.__name__)
            return function(*args, **(kwargs or {}))

    names: list[str] = []
    model = Chain()
    with Counts():
        model(X)
    bare, names = names, []
    with fwdtrace.record(model), Counts():
        model(X)
    assert names == bare


def test_a_tensor_subclass_is_not_told_of_our_looking() -> None:
    class Loud(Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(getattr(function, "__name__", str(function)))
            return super().__torch_function__(function, types, args, kwargs or {})

    names: list[str] = []
    model, x = Chain(), torch.ones(2, 4).as_subclass(Loud)
    model(x)
    bare, names = names, []
    trace = recorded(model, x)
    assert names == bare
    assert trace.calls[0].inputs[0].shape == (2, 4)  # type: ignore[union-attr]


def test_functional_call_is_a_normal_call() -> None:
    model = Chain()
    parameters = {name: value * 0 for name, value in model.named_parameters()}
    with fwdtrace.record(model) as recording:
        assert torch.func.functional_call(model, parameters, (X,)).sum() == 0
    assert entries(recording.trace) == CHAIN


def test_vmap_over_a_model_is_recorded() -> None:
    model = Chain()
    with fwdtrace.record(model) as recording:
        torch.func.vmap(model)(torch.ones(3, 2, 4))
    assert entries(recording.trace) == CHAIN


def test_the_class_forward_replaced_in_the_block_stays_replaced() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    def other(self: nn.Module, x: Tensor) -> Tensor:
        return x + 1

    model = Net()
    with fwdtrace.record(model) as recording:
        Net.forward = other  # type: ignore[method-assign, assignment]
        assert torch.equal(model(X), X + 1)
    assert Net.forward is other
    assert entries(recording.trace) == [("", "__call__")]


def test_a_hook_registered_and_one_removed_in_the_block_stay_so() -> None:
    model = Chain()
    leaving = model.first.register_forward_hook(adds_one)
    with fwdtrace.record(model):
        model(X)
        leaving.remove()
        model.second.register_forward_hook(adds_one)
        model(X)
    assert not model.first._forward_hooks
    assert list(model.second._forward_hooks.values()) == [adds_one]


def test_torch_finds_its_own_hooks_while_recording() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = nn.utils.weight_norm(nn.Linear(4, 4))
    model = nn.Sequential(layer)
    with fwdtrace.record(model) as recording:
        model(X)
        nn.utils.remove_weight_norm(layer)
        model(X)
    first, second = recording.trace.at("0")
    assert [hook.name for hook in first.hooks] == ["torch.nn.utils.weight_norm.WeightNorm"]
    assert second.hooks == ()


def test_the_model_can_be_saved_in_the_block() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_forward_hook(adds_one)
    buffer = io.BytesIO()
    with fwdtrace.record(model):
        model(X)
        torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert list(loaded[0]._forward_hooks.values()) == [adds_one]
    assert torch.equal(loaded(X), model(X))


def test_an_async_forward_is_a_call_that_returns_a_coroutine() -> None:
    class Net(nn.Module):
        async def forward(self, x: Tensor) -> Tensor:
            return x

    model = Net()
    with fwdtrace.record(model) as recording, pytest.raises(StopIteration):
        model(X).send(None)
    assert [leaf.value for leaf in recording.trace.calls[0].outputs] == ["coroutine(…)"]  # type: ignore[union-attr]


def test_a_module_list_that_is_called_is_an_error_of_its_own() -> None:
    model = nn.ModuleList()
    with pytest.raises(NotImplementedError), fwdtrace.record(model) as recording:
        model(X)
    assert recording.trace.calls[0].error is not None


def test_fused_transformer_layers_stay_fused() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    trace = recorded(layer, torch.ones(1, 2, 4))
    assert entries(trace) == [("", "__call__")]
