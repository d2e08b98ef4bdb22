"""The recorder on small modules, one behaviour of nn.Module a test; traces are compared whole or row by row."""

from __future__ import annotations

import sys
import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import Call, Site, TensorMeta, Trace, Value
from tests import helpers
from tests.helpers.footprint import collecting_no_garbage
from tests.helpers.models import Chain
from tests.helpers.recorded import recorded, rows

X = torch.ones(2, 4)


def test_a_trace_of_two_layers_is_exactly_this() -> None:
    model = Chain()
    trace = recorded(model, X)
    here = Site(helpers.recorded.__file__, 0, "recorded", "model(*args)")
    inside = Site(helpers.models.__file__, 0, "Chain.forward", "return self.second(self.first(x))")
    chain = ("Module._wrapped_call_impl", "Module._call_impl")
    x, y = TensorMeta("x", (2, 4), "float32"), TensorMeta("", (2, 3), "float32")
    root = Call(0, None, 0, "", "Chain", 1, "__call__", (x,), (y,), here, (*chain, "Chain.forward"), parameters=35)
    linear = (*chain, "Linear.forward")
    into, between = replace(x, name="input"), replace(x, name="")
    first = Call(1, 0, 1, "first", "Linear", 1, "__call__", (into,), (between,), inside, linear, parameters=20)
    second = Call(2, 0, 1, "second", "Linear", 1, "__call__", (into,), (y,), inside, linear, parameters=15)

    assert tuple(without_times_and_lines(call) for call in trace.calls) == (root, first, second)


def without_times_and_lines(call: Call) -> Call:
    assert call.site is not None
    function = call.site.function if "." in call.site.function or call.depth == 0 else "Chain.forward"
    return replace(call, duration_us=None, site=replace(call.site, line=0, function=function))


def test_the_site_is_the_line_of_the_call() -> None:
    trace = recorded(Chain(), X)
    line = Chain.forward.__code__.co_firstlineno + 1
    assert [call.site.line for call in trace.calls[1:] if call.site] == [line, line]


def test_layers_of_a_sequential_have_the_line_that_called_the_sequential() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Sequential(nn.ReLU()))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    trace = recorded(Net(), X)
    assert [call.site.code for call in trace.calls[1:] if call.site] == ["return self.body(x)"] * 3


def test_what_torch_calls_back_has_the_line_of_the_callback() -> None:
    from torch.utils.checkpoint import checkpoint

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(lambda y: self.layer(y), x, use_reentrant=False)

    trace = recorded(Net(), X)
    site = trace.calls[1].site
    assert site is not None and site.code.startswith("return checkpoint(lambda") and "<lambda>" in site.function


def test_a_layer_called_twice_is_two_calls() -> None:
    layer = nn.Linear(4, 4)
    assert rows(recorded(nn.Sequential(layer, layer), X)) == [" #1 __call__", "  0 #1 __call__", "  0 #2 __call__"]


def test_a_layer_with_two_names_has_the_first_and_an_alias() -> None:
    layer = nn.Linear(4, 4)
    call = recorded(nn.Sequential(layer, layer), X).calls[1]
    assert (call.path, call.aliases) == ("0", ("1",))


def test_parameters_shared_by_two_layers_are_counted_once() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    trace = recorded(nn.Sequential(first, second), X)
    assert [call.parameters for call in trace.calls] == [24, 20, 20]
    assert trace.model.parameters == 24


def test_a_tree_with_a_cycle_is_recorded() -> None:
    child, root = nn.Linear(4, 4), Chain()
    child.back = root
    root.first = child
    assert rows(recorded(root, X)) == [" #1 __call__", "  first #1 __call__", "  second #1 __call__"]


def test_recursion_150_deep_is_recorded() -> None:
    class Deep(nn.Module):
        def forward(self, x: Tensor, level: int) -> Tensor:
            return x if level == 0 else self(x, level - 1)

    trace = recorded(Deep(), X, 150)
    assert [call.depth for call in trace.calls] == list(range(151))
    assert trace.calls[-1].inputs == (TensorMeta("x", (2, 4), "float32"), Value("level", "0"))


def test_a_model_that_only_just_recurses_deeply_enough_still_does_when_recorded() -> None:
    class Deep(nn.Module):
        def forward(self, x: Tensor, level: int) -> Tensor:
            return x if level == 0 else self(x, level - 1)

    levels = 200 if sys.version_info[:2] == (3, 12) else 250  # which counts calls through C apart, to a fixed limit
    assert len(recorded(Deep(), X, levels).calls) == levels + 1


@pytest.mark.parametrize("through", ["instance", "class", "captured", "listed"])
def test_a_direct_call_is_recorded_with_entry_forward_its_shapes_and_its_line(through: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.captured = self.layer.forward
            self.listed = [self.layer.forward]

        def forward(self, x: Tensor) -> Tensor:
            if through == "instance":
                return self.layer.forward(x)
            if through == "class":
                return nn.Linear.forward(self.layer, x)
            if through == "captured":
                return self.captured(x)
            return self.listed[0](x)

    trace = recorded(Net(), X)
    assert rows(trace) == [" #1 __call__", "  layer #1 forward"]
    call = trace.calls[1]
    assert call.inputs == (TensorMeta("input", (2, 4), "float32"),)
    assert call.outputs == (TensorMeta("", (2, 3), "float32"),)
    assert call.chain == ("Linear.forward",)
    assert call.site is not None and call.site.code in (
        "return self.layer.forward(x)",
        "return nn.Linear.forward(self.layer, x)",
        "return self.captured(x)",
        "return self.listed[0](x)",
    )


def test_the_root_run_by_its_forward_is_a_direct_call() -> None:
    model = Chain()
    with fwdtrace.record(model) as recording:
        model.forward(X)
    assert rows(recording.trace) == [" #1 forward", "  first #1 __call__", "  second #1 __call__"]


def test_a_module_outside_the_tree_has_no_path() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.Linear(4, 4)]

        def forward(self, x: Tensor) -> Tensor:
            return nn.Softmax(dim=1)(self.hidden[0](x))

    trace = recorded(Net(), X)
    assert [(call.path, call.class_name, call.nth) for call in trace.calls] == [
        ("", "Net", 1),
        (None, "Linear", 1),
        (None, "Softmax", 1),
    ]


def test_a_module_of_no_recording_called_beside_the_model_is_not_recorded() -> None:
    model, loss = Chain(), nn.MSELoss()
    with fwdtrace.record(model) as recording:
        loss(model(X), torch.zeros(2, 3))
    assert [call.class_name for call in recording.trace.calls] == ["Chain", "Linear", "Linear"]


def test_a_submodule_called_by_itself_is_recorded_without_a_parent() -> None:
    model = Chain()
    with fwdtrace.record(model) as recording:
        model.first(X)
    assert rows(recording.trace) == ["first #1 __call__"]


def test_a_module_swapped_in_during_forward_has_the_path_it_then_has() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer: nn.Module = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            self.layer = nn.Tanh()
            return self.layer(y)

    assert [(call.path, call.class_name, call.nth) for call in recorded(Net(), X).calls] == [
        ("", "Net", 1),
        ("layer", "Linear", 1),
        ("layer", "Tanh", 1),
    ]


def test_super_forward_is_not_a_call_of_its_own() -> None:
    class More(Chain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    assert rows(recorded(More(), X)) == [" #1 __call__", "  first #1 __call__", "  second #1 __call__"]


def test_a_forward_replaced_on_the_instance_is_a_normal_call() -> None:
    model = Chain()
    before = model.first.forward
    model.first.forward = lambda x: before(x) * 2
    assert rows(recorded(model, X)) == [" #1 __call__", "  first #1 __call__", "  second #1 __call__"]
    assert model.first.forward(X).equal(before(X) * 2)


def test_the_trace_can_be_looked_at_while_the_model_runs() -> None:
    seen: list[Trace] = []

    class Peek(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(recording.trace)
            return x

    model = nn.Sequential(nn.ReLU(), Peek())
    with fwdtrace.record(model) as recording:
        model(X)
    assert [(call.path, call.duration_us is None) for call in seen[0].calls] == [("", True), ("0", False), ("1", True)]
    assert [call.duration_us is None for call in recording.trace.calls] == [False] * 3


def test_a_recording_is_used_once_and_has_no_trace_before() -> None:
    recording = fwdtrace.record(Chain())
    with pytest.raises(RuntimeError, match="nothing is recorded yet"):
        _ = recording.trace
    with recording:
        pass
    with pytest.raises(RuntimeError, match="used already"), recording:
        pass


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"fwdtrace\.record takes an nn\.Module, not function"):
        fwdtrace.record(lambda x: x)  # type: ignore[arg-type]


def test_the_parameters_of_forward_name_the_inputs() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor, *rest: Any, scale: float = 1.0, **more: Any) -> Any:
            return {"x": x, "none": None, "rest": rest}

    model = Net()
    with fwdtrace.record(model) as recording:
        model(X, X, [X, {"a": X}], scale=2.0, other=None)
    trace = recording.trace
    assert [leaf.name for leaf in trace.calls[0].inputs] == [
        "x",
        "rest[0]",
        "rest[1][0]",
        "rest[1][1].a",
        "scale",
        "other",
    ]
    assert trace.calls[0].inputs[4:] == (Value("scale", "2.0"), Value("other", "None"))
    assert [leaf.name for leaf in trace.calls[0].outputs] == [".x", ".none", ".rest[0]", ".rest[1][0]", ".rest[1][1].a"]


@pytest.mark.parametrize("option", ["ops", "stats", "check_finite", "costs", "gradients"])
def test_a_model_that_is_let_go_is_gone_at_once(option: str) -> None:
    model = Chain()
    model.first.register_forward_hook(lambda module, args, output: None)
    alive = [weakref.ref(model), weakref.ref(model.first)]
    with collecting_no_garbage():
        with fwdtrace.record(model, **{option: True}) as recording:
            model(X)
        del model
        assert [reference() for reference in alive] == [None, None]
    assert len(recording.trace.calls) == 3


def test_no_tensor_is_kept_alive() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made = nn.Linear(4, 4)
            alive.append(weakref.ref(made.weight))
            return made(x)

    alive: list[Any] = []
    model = Net()
    x = torch.ones(2, 4)
    with collecting_no_garbage(), fwdtrace.record(model) as recording, torch.no_grad():
        alive.append(weakref.ref(model(x)))
        alive.append(weakref.ref(x))
        del x
        assert [reference() for reference in alive] == [None, None, None]
    assert len(recording.trace.calls) == 2


def test_an_object_that_holds_tensors_is_described_by_them() -> None:
    class Net(nn.Module):
        def forward(self, cache: Any, x: Tensor) -> Tensor:
            return x

    cache = SimpleNamespace(keys=[X, X], label="k", inner=SimpleNamespace(value=torch.zeros(3)))
    assert recorded(Net(), cache, X).calls[0].inputs == (
        TensorMeta("cache.keys[0]", (2, 4), "float32"),
        TensorMeta("cache.keys[1]", (2, 4), "float32"),
        TensorMeta("cache.inner.value", (3,), "float32"),
        TensorMeta("x", (2, 4), "float32"),
    )


def test_the_mode_of_a_model_is_that_of_what_data_parallelism_wraps() -> None:
    model = nn.DataParallel(nn.Linear(2, 2))
    model.module.eval()
    with fwdtrace.record(model) as recording:
        model(torch.ones(1, 2))
    assert model.training and not recording.trace.model.training
