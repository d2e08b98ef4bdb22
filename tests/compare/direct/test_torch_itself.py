"""What torch's own tools see of a submodule that a model runs by `.forward(x)`, measured with torch alone."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fwdtrace.models.zoo import mechanisms as zoo

ROW = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))


class Direct(nn.Module):
    """A model that runs `a` normally and `b` in the way it is given."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.a = nn.Linear(16, 16)
        self.b = nn.Linear(16, 4)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b.forward(x) if self.way == "forward" else self.b(x)


def test_an_always_called_hook_does_not_run_on_an_exception() -> None:
    model = nn.Linear(8, 4)
    runs: list[object] = []
    model.register_forward_hook(lambda module, args, out: runs.append(out), always_call=True)
    for run in (model, model.forward):
        with pytest.raises(RuntimeError):
            run(ROW)
    assert runs == [None]


def test_checkpointing_a_bound_forward_runs_no_hook() -> None:
    runs: list[str] = []
    model = zoo.Layers()
    model.register_forward_pre_hook(lambda *_: runs.append("hook"))
    x = ROW.clone().requires_grad_()
    checkpoint(model.forward, x, use_reentrant=False).sum().backward()
    assert runs == []
    checkpoint(model, x, use_reentrant=False).sum().backward()
    assert runs == ["hook", "hook"]


def test_gradient_modes_are_those_of_the_caller() -> None:
    model = Direct("call")
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            called, direct = model(ROW), model.forward(ROW)
        assert not called.requires_grad and not direct.requires_grad and torch.equal(called, direct)


def test_double_backward_is_the_same() -> None:
    model = nn.Sequential(nn.Linear(16, 4), nn.Tanh())
    second = []
    for run in (model, model.forward):
        x = ROW.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(run(x).sum(), x, create_graph=True)
        second.append(torch.autograd.grad(gradient.square().sum(), x)[0])
    assert torch.equal(*second)


def test_functional_call_swaps_the_parameters_of_a_direct_child_too() -> None:
    swapped = {name: torch.ones_like(value) for name, value in Direct("call").named_parameters()}
    outputs = [torch.func.functional_call(Direct(way), swapped, (ROW,)) for way in ("call", "forward")]
    assert torch.equal(*outputs)


def test_saved_tensors_hooks_see_the_same() -> None:
    model = Direct("call")
    packed: list[list[torch.Size]] = []
    for run in (model, model.forward):
        packed.append([])
        with torch.autograd.graph.saved_tensors_hooks(lambda t: packed[-1].append(t.shape) or t, lambda t: t):
            run(ROW)
    assert packed[0] == packed[1] != []


def test_the_profiler_has_no_module_event_of_a_direct_child() -> None:
    names = {}
    for way in ("call", "forward"):
        model = Direct(way)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_stack=True) as profile:
            model(ROW)
        events = [event.name() for event in profile.profiler.kineto_results.events()]  # type: ignore[union-attr]
        names[way] = (sum("nn.Module: Linear" in event for event in events), events.count("aten::addmm"))
    assert names == {"call": (2, 2), "forward": (1, 2)}


@pytest.mark.parametrize("way", ["call", "forward"])
def test_a_flop_counter_counts_a_direct_child_for_its_parent(way: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        Direct(way)(ROW)
    counts = counter.get_flop_counts()
    assert sum(counts["Global"].values()) == 2 * 8 * 16 * (16 + 4)
    assert ("Direct.b" in counts) == (way == "call")


@pytest.mark.parametrize("way", ["call", "forward"])
def test_a_module_tracker_takes_a_direct_child_for_its_parent(way: str) -> None:
    from torch.utils.module_tracker import ModuleTracker

    seen: list[set[str]] = []
    model = Direct(way)
    with ModuleTracker() as tracker:
        real = nn.functional.linear
        nn.functional.linear = lambda *args: seen.append(set(tracker.parents)) or real(*args)  # type: ignore[assignment]
        try:
            model(ROW)
        finally:
            nn.functional.linear = real
    assert seen[0] == {"Global", "Direct", "Direct.a"}
    assert seen[1] == {"Global", "Direct"} | ({"Direct.b"} if way == "call" else set())


def test_jit_trace_gives_a_direct_child_no_scope_and_no_call() -> None:
    for way in ("call", "forward"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(Direct(way), ROW)
        calls = [node for node in traced.graph.nodes() if node.kind() == "prim::CallMethod"]
        assert len(calls) == (2 if way == "call" else 1)


def test_a_scripted_pre_hook_is_ignored() -> None:
    class Hooked(nn.Linear):
        pass

    def double(self: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0] * 2,)

    model = Hooked(16, 4)
    model.register_forward_pre_hook(double)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(model)
    assert torch.equal(scripted(ROW), scripted.forward(2 * ROW))
    assert not torch.equal(scripted(ROW), scripted.forward(ROW))


def test_symbolic_tracing_sees_a_function_in_place_of_a_direct_child() -> None:
    for way, last in (("call", ("call_module", "b")), ("forward", ("call_function", "linear"))):
        *_, node, output = torch.fx.symbolic_trace(Direct(way)).graph.nodes
        assert (node.op, node.name) == last and output.op == "output"


def test_export_loses_the_name_of_a_direct_child_and_stays_right() -> None:
    for way in ("call", "forward"):
        model = Direct(way)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (ROW,), strict=False)
        stacks = [
            [path for path, _ in node.meta["nn_module_stack"].values()]
            for node in program.graph.nodes
            if "linear" in str(node.target)
        ]
        assert stacks == [["", "a"], ["", "b"] if way == "call" else [""]]
        assert torch.allclose(program.module()(ROW), model(ROW))


def test_fx_quantization_has_a_function_in_place_of_a_direct_child() -> None:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    kinds = {}
    for way in ("call", "forward"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepared = prepare_fx(Direct(way).eval(), get_default_qconfig_mapping("fbgemm"), (ROW,))
            prepared(ROW)
            quantized = convert_fx(prepared)
        kinds[way] = [node.op for node in quantized.graph.nodes if node.name == "b" or "linear" in node.name]
    assert kinds == {"call": ["call_module"], "forward": ["call_function"]}


def test_the_inputs_of_a_direct_child_are_not_found_by_its_name() -> None:
    from torch.ao.quantization.utils import get_fqn_to_example_inputs

    for way in ("call", "forward"):
        assert ("b" in get_fqn_to_example_inputs(Direct(way), (ROW,))) == (way == "call")
