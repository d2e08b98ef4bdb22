"""The recorder on small modules, one behaviour of nn.Module a test; traces are compared whole or row by row."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import Call, CallError, Hook, Site, TensorMeta, Trace, Value

X = torch.ones(2, 4)


def recorded(model: nn.Module, *args: Any, **kwargs: Any) -> Trace:
    with fwdtrace.record(model) as recording, torch.no_grad():
        model(*args, **kwargs)
    return recording.trace


def rows(trace: Trace) -> list[str]:
    """One line a call: indentation by depth, path, number, entry."""
    return [f"{'  ' * call.depth}{call.path} #{call.nth} {call.entry}" for call in trace.calls]


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_a_trace_of_two_layers_is_exactly_this() -> None:
    model = Two()
    trace = recorded(model, X)
    here = Site(__file__, 0, "recorded", "model(*args, **kwargs)")
    inside = Site(__file__, 0, "Two.forward", "return self.second(self.first(x))")
    chain = ("Module._wrapped_call_impl", "Module._call_impl")
    x, y = TensorMeta("x", (2, 4), "float32"), TensorMeta("", (2, 3), "float32")
    root = Call(0, None, 0, "", "Two", 1, "__call__", (x,), (y,), here, (*chain, "Two.forward"), parameters=35)
    linear = (*chain, "Linear.forward")
    into, between = replace(x, name="input"), replace(x, name="")
    first = Call(1, 0, 1, "first", "Linear", 1, "__call__", (into,), (between,), inside, linear, parameters=20)
    second = Call(2, 0, 1, "second", "Linear", 1, "__call__", (into,), (y,), inside, linear, parameters=15)

    assert tuple(without_times_and_lines(call) for call in trace.calls) == (root, first, second)


def without_times_and_lines(call: Call) -> Call:
    assert call.site is not None
    function = call.site.function if "." in call.site.function or call.depth == 0 else "Two.forward"
    return replace(call, duration_us=None, site=replace(call.site, line=0, function=function))


def test_the_site_is_the_line_of_the_call() -> None:
    trace = recorded(Two(), X)
    line = Two.forward.__code__.co_firstlineno + 1
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
    child, root = nn.Linear(4, 4), Two()
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

    assert len(recorded(Deep(), X, 250).calls) == 251


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
    model = Two()
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
    model, loss = Two(), nn.MSELoss()
    with fwdtrace.record(model) as recording:
        loss(model(X), torch.zeros(2, 3))
    assert [call.class_name for call in recording.trace.calls] == ["Two", "Linear", "Linear"]


def test_a_submodule_called_by_itself_is_recorded_without_a_parent() -> None:
    model = Two()
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


def test_an_error_names_the_innermost_call_and_marks_its_callers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(5, 4)))
    with pytest.raises(RuntimeError), fwdtrace.record(model) as recording:
        model(X)
    calls = recording.trace.calls
    assert [(call.path, call.error and call.error.raised_below) for call in calls] == [
        ("", True),
        ("0", None),
        ("1", True),
        ("1.0", False),
    ]
    assert calls[-1].error == CallError("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (2x4 and 5x4)")
    assert [call.outputs for call in calls if call.error] == [(), (), ()]


def test_an_error_caught_inside_the_model_stays_with_the_call_that_raised() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad, self.good = nn.Linear(5, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.bad(x)
            except RuntimeError:
                return self.good(x)

    calls = recorded(Net(), X).calls
    assert [(call.path, call.error is None) for call in calls] == [("", True), ("bad", False), ("good", True)]


def test_an_error_raised_after_another_was_caught_is_the_callers_own() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad = nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.bad(x)
            except RuntimeError:
                raise ValueError("no luck") from None

    model = Net()
    with pytest.raises(ValueError, match="no luck"), fwdtrace.record(model) as recording:
        model(X)
    assert recording.trace.calls[0].error == CallError("ValueError", "no luck")


def test_an_interrupt_closes_every_open_call() -> None:
    class Stop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    model = nn.Sequential(nn.ReLU(), Stop())
    with pytest.raises(KeyboardInterrupt), fwdtrace.record(model) as recording:
        model(X)
    assert [(call.path, call.error and call.error.type) for call in recording.trace.calls] == [
        ("", "KeyboardInterrupt"),
        ("0", None),
        ("1", "KeyboardInterrupt"),
    ]


def test_the_traceback_that_leaves_the_block_has_no_frame_of_ours() -> None:
    model = nn.Sequential(nn.Linear(5, 4))
    with pytest.raises(RuntimeError) as caught, fwdtrace.record(model):
        model(X)
    files = [str(entry.path) for entry in caught.traceback]
    assert any("torch" in file for file in files)
    assert not any(
        "fwdtrace/" in file.replace("\\", "/").split("/tests/")[0] + "/" and "recorder" in file for file in files
    )


def test_an_exception_whose_text_cannot_be_made_is_recorded_and_passed_on() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise Broken

    model = Net()
    with pytest.raises(Broken), fwdtrace.record(model) as recording:
        model(X)
    assert recording.trace.calls[0].error == CallError("Broken", "")


def test_super_forward_is_not_a_call_of_its_own() -> None:
    class More(Two):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    assert rows(recorded(More(), X)) == [" #1 __call__", "  first #1 __call__", "  second #1 __call__"]


def test_a_forward_replaced_on_the_instance_is_a_normal_call() -> None:
    model = Two()
    before = model.first.forward
    model.first.forward = lambda x: before(x) * 2
    assert rows(recorded(model, X)) == [" #1 __call__", "  first #1 __call__", "  second #1 __call__"]
    assert model.first.forward(X).equal(before(X) * 2)


def test_calls_in_another_thread_are_under_the_call_that_waits_for_them() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            results: list[Tensor] = []
            thread = threading.Thread(target=lambda: results.append(self.layer(x)), name="worker")
            thread.start()
            thread.join()
            return results[0]

    trace = recorded(Net(), X)
    assert rows(trace) == [" #1 __call__", "  layer #1 __call__"]
    assert [call.thread for call in trace.calls] == [None, "worker"]


def test_data_parallel_replicas_have_the_names_of_what_they_copy() -> None:
    class Replicates(nn.DataParallel):
        def forward(self, x: Tensor) -> Tensor:
            replica = self.module._replicate_for_data_parallel()
            for name, child in self.module._modules.items():
                replica._modules[name] = child._replicate_for_data_parallel()
            replica.first.weight, replica.first.bias = self.module.first.weight, self.module.first.bias
            replica.second.weight, replica.second.bias = self.module.second.weight, self.module.second.bias
            results: list[Tensor] = []
            thread = threading.Thread(target=lambda: results.append(replica(x)))
            thread.start()
            thread.join()
            return results[0]

    model = Replicates(Two())
    trace = recorded(model, X)
    assert rows(trace) == [
        " #1 __call__",
        "  module #1 __call__",
        "    module.first #1 __call__",
        "    module.second #1 __call__",
    ]


def test_two_recordings_of_two_models_each_see_their_own() -> None:
    one, other = Two(), nn.Sequential(nn.ReLU())
    with fwdtrace.record(one) as outer:
        one(X)
        with fwdtrace.record(other) as inner:
            one(X)
            other(X)
        other(X)
    assert [call.class_name for call in outer.trace.calls] == ["Two", "Linear", "Linear"] * 2
    assert [call.class_name for call in inner.trace.calls] == ["Sequential", "ReLU"]


def test_recordings_may_end_in_any_order() -> None:
    one, other = Two(), nn.Sequential(nn.ReLU())
    first, second = fwdtrace.record(one), fwdtrace.record(other)
    first.__enter__()
    second.__enter__()
    one(X)
    first.__exit__(None, None, None)
    other(X)
    second.__exit__(None, None, None)
    assert len(first.trace.calls) == 3 and len(second.trace.calls) == 2


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
    recording = fwdtrace.record(Two())
    with pytest.raises(RuntimeError, match="nothing is recorded yet"):
        _ = recording.trace
    with recording:
        pass
    with pytest.raises(RuntimeError, match="used already"), recording:
        pass


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"fwdtrace\.record takes an nn\.Module, not function"):
        fwdtrace.record(lambda x: x)  # type: ignore[arg-type]


def test_hooks_are_listed_with_what_they_did() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_forward_pre_hook(doubles_input)
    model[0].register_forward_hook(only_looks)
    model[0].register_forward_hook(only_looks, always_call=True)
    model[0].register_full_backward_hook(looks_back)
    hooks = recorded(model, X).calls[1].hooks
    assert [(hook.kind, hook.name.rpartition(".")[2], hook.fired, hook.changed) for hook in hooks] == [
        ("forward_pre", "doubles_input", True, True),
        ("forward", "only_looks", True, False),
        ("forward_always_call", "only_looks", True, False),
        ("full_backward", "looks_back", False, False),
    ]
    assert hooks[0].file == __file__ and hooks[0].line == doubles_input.__code__.co_firstlineno


def doubles_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (args[0] * 2,)


def only_looks(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    return output


def looks_back(module: nn.Module, grad_input: Any, grad_output: Any) -> None:
    return None


def test_a_backward_hook_has_fired_when_backward_ran_in_the_block() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_full_backward_hook(looks_back)
    with fwdtrace.record(model) as recording:
        model(X)
        model(torch.ones(2, 4, requires_grad=True)).sum().backward()
    first, second = (call.hooks[0] for call in recording.trace.at("0"))
    assert (first.fired, second.fired) == (False, True)


def test_a_direct_call_lists_the_hooks_it_skipped() -> None:
    model = Two()
    model.second.register_forward_hook(only_looks)
    model.forward = lambda x: model.second.forward(model.first(x))
    assert [hook.fired for hook in recorded(model, X).at("second")[0].hooks] == [False]


def test_global_hooks_are_listed_for_every_module() -> None:
    handle = nn.modules.module.register_module_forward_hook(only_looks)
    try:
        trace = recorded(Two(), X)
    finally:
        handle.remove()
    assert [[(hook.kind, hook.fired) for hook in call.hooks] for call in trace.calls] == [
        [("global_forward", True)]
    ] * 3


def test_hooks_put_a_module_on_the_hook_path_and_nothing_else_does() -> None:
    model = Two()
    model.first.register_forward_hook(only_looks)
    chains = [call.chain for call in recorded(model, X).calls]
    assert chains == [
        ("Module._wrapped_call_impl", "Module._call_impl", "Two.forward"),
        ("Module._wrapped_call_impl", "Module._call_impl", "Module._call_impl.inner", "Linear.forward"),
        ("Module._wrapped_call_impl", "Module._call_impl", "Linear.forward"),
    ]


def test_a_pre_hook_that_raises_leaves_a_call_that_never_reached_forward() -> None:
    def refuse(module: nn.Module, args: Any) -> None:
        raise ValueError("refused")

    model = Two()
    model.first.register_forward_pre_hook(refuse)
    with pytest.raises(ValueError), fwdtrace.record(model) as recording:
        model(X)
    call = recording.trace.calls[1]
    assert call.chain == () and call.error == CallError("ValueError", "refused")


def test_an_overridden_call_is_in_the_chain() -> None:
    class Own(nn.Linear):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x)

    class Skips(nn.Linear):
        def __call__(self, x: Tensor) -> Tensor:
            return self.forward(x)

    trace = recorded(nn.Sequential(Own(4, 4), Skips(4, 4)), X)
    assert [(call.entry, call.chain[0].rpartition(".<locals>.")[2], len(call.chain)) for call in trace.calls[1:]] == [
        ("__call__", "Own.__call__", 4),
        ("__call__", "Skips.__call__", 2),
    ]


def test_the_parameters_of_forward_name_the_inputs() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor, *rest: Any, scale: float = 1.0, **more: Any) -> Any:
            return {"x": x, "none": None, "rest": rest}

    trace = recorded(Net(), X, X, [X, {"a": X}], scale=2.0, other=None)
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


def test_no_tensor_is_kept_alive() -> None:
    import gc
    import weakref

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made = nn.Linear(4, 4)
            alive.append(weakref.ref(made.weight))
            return made(x)

    alive: list[Any] = []
    model = Net()
    x = torch.ones(2, 4)
    with fwdtrace.record(model) as recording, torch.no_grad():
        alive.append(weakref.ref(model(x)))
        alive.append(weakref.ref(x))
        del x
        gc.collect()
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


def test_hooks_say_which_file_and_line_they_come_from() -> None:
    model = Two()
    model.first.register_forward_hook(only_looks)
    hook = recorded(model, X).calls[1].hooks[0]
    assert hook == Hook(
        "forward", "tests.test_record.only_looks", True, False, __file__, only_looks.__code__.co_firstlineno
    )
