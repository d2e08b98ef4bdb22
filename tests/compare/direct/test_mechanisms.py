"""What torch builds on `__call__`, and whether a direct call skips it, as compare_direct measures it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.compare.difference import Difference
from fwdtrace.compare.direct.comparison import DirectComparison
from fwdtrace.compare.direct.experiment import compare_direct
from fwdtrace.models.zoo import mechanisms as zoo
from fwdtrace.models.zoo.calls import HalfPrecision
from tests.helpers.footprint import torch_state

ROW = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
Build = Callable[[], nn.Module]


def only(comparison: DirectComparison, kind: str, mode: str = "train") -> list[Difference]:
    return [
        difference
        for difference in comparison.differences
        if difference.kind == kind and difference.mode in (mode, None)
    ]


def mechanisms(comparison: DirectComparison) -> list[str | None]:
    return [item.mechanism for item in comparison.inventory]


def test_hooks_of_every_kind_do_not_fire() -> None:
    comparison = compare_direct(zoo.EveryHook, ROW)
    (experiment,) = comparison.experiments
    assert [(hook.kind, hook.called, hook.direct) for hook in experiment.hooks] == [
        *((kind, 1, 0) for kind in ("forward_pre", "forward", "forward_always_call")),
        *((kind, 1, 0) for kind in ("full_backward_pre", "full_backward")),
    ]
    assert {difference.severity for difference in comparison.differences} == {"observation"}
    assert only(comparison, "autograd-graph")[0].message.endswith("without BackwardHookFunctionBackward")


def test_a_legacy_backward_hook_does_not_fire() -> None:
    def build() -> nn.Module:
        model = nn.Linear(16, 4)
        model.register_backward_hook(lambda *_: None)
        return model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (hook,) = compare_direct(build, ROW).experiments[0].hooks
    assert (hook.kind, hook.called, hook.direct) == ("backward", 1, 0)


def test_a_hook_that_scales_a_gradient_a_hundredfold_is_lost() -> None:
    comparison = compare_direct(zoo.GradientHook, ROW)
    (difference, *_) = only(comparison, "input-gradient")
    assert difference.message.endswith("as model(x) makes it 100 times as large")
    assert not only(comparison, "gradient")


@pytest.mark.parametrize(("build", "name"), [(zoo.weight_norm, "weight_norm"), (zoo.pruned, "prune")])
def test_the_second_step_fails_and_changed_weights_are_stale(build: Build, name: str) -> None:
    comparison = compare_direct(build, ROW)
    assert mechanisms(comparison) == [name]
    (error,) = only(comparison, "exception")
    assert error.round == "second step" and "Trying to backward through the graph a second time" in error.after
    (stale,) = only(comparison, "output")
    assert stale.round == "changed weights" and float(stale.message.rpartition(" ")[2]) > 0.1
    assert f"as it skips {name}" in comparison.verdict


def test_the_old_spectral_norm_silently_trains_nothing() -> None:
    comparison = compare_direct(zoo.spectral_norm, ROW)
    assert not only(comparison, "exception")
    assert [difference.path for difference in only(comparison, "missing-gradient")] == ["weight_orig"] * 2
    assert [difference.after for difference in only(comparison, "missing-gradient")] == ["none"] * 2
    assert {difference.path for difference in only(comparison, "buffer")} >= {"weight_u", "weight_v"}
    assert not only(comparison, "buffer", "eval")
    assert "weight_orig gets a gradient from model(x) and silently none from model.forward(x)" in comparison.verdict


@pytest.mark.parametrize("at", ["weight_norm", "spectral_norm", "orthogonal", ""])
def test_the_new_parametrizations_do_not_depend_on_the_call(at: str) -> None:
    comparison = compare_direct(zoo.Parametrized, ROW, at=[at])
    assert comparison.equal
    assert {item.kind for item in comparison.inventory} == {"parametrization"}


@pytest.mark.parametrize("build", [lambda: nn.LazyLinear(4), lambda: nn.LazyConv1d(4, 3), lambda: nn.LazyBatchNorm1d()])
def test_a_lazy_layer_fails_and_the_remedy_is_told(build: Build) -> None:
    comparison = compare_direct(build, ROW.reshape(8, 4, 4))
    (error, *_) = only(comparison, "exception")
    assert error.round == "first step" and error.severity == "exception"
    assert error.after.startswith("ValueError in forward: Attempted to use an uninitialized parameter")
    assert comparison.fix.endswith("run model(x) once before anything else")


def test_a_lazy_child_of_a_model_that_is_run_directly_initialises() -> None:
    assert compare_direct(lambda: nn.Sequential(nn.LazyLinear(4)), ROW).equal
    assert not compare_direct(lambda: nn.Sequential(nn.LazyLinear(4)), ROW, at=["0"]).equal


def test_the_composable_checkpoint_keeps_all_activations() -> None:
    comparison = compare_direct(zoo.checkpointed, ROW)
    assert mechanisms(comparison) == ["activation checkpointing"] * 2
    assert [(difference.path, difference.before, difference.after) for difference in only(comparison, "calls")] == [
        (path, "twice", "once") for path in ("first", "act", "second")
    ]
    assert comparison.differences[0].severity == "cost"


def test_the_checkpoint_wrapper_acts_in_forward() -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    assert compare_direct(lambda: checkpoint_wrapper(zoo.Layers()), ROW).equal


@pytest.mark.usefixtures("dynamo")
class TestCompiled:
    """`torch.compile` and `module.compile()`, with the eager backend so that no compiler is needed."""

    def test_a_model_compiled_in_place_runs_eagerly(self) -> None:
        comparison = compare_direct(zoo.compiled, ROW)
        (difference,) = comparison.differences
        assert (difference.kind, difference.severity) == ("compiled", "cost")
        assert (difference.before, difference.after) == ("compiled", "eager")
        assert mechanisms(comparison) == ["module.compile()"]

    def test_a_compiled_wrapper_stays_compiled(self) -> None:
        graphs: list[object] = []

        def backend(graph: Any, inputs: Any) -> Any:
            def run(*args: Any) -> Any:
                graphs.append(graph)
                return graph.forward(*args)

            return run

        model = torch.compile(zoo.Layers(), backend=backend)
        model(ROW)
        model.forward(ROW)
        assert len(graphs) == 2

    def test_a_compiled_forward_stays_compiled(self) -> None:
        def build() -> nn.Module:
            model = zoo.Layers()
            model.forward = torch.compile(model.forward, backend="eager")  # type: ignore[method-assign]
            return model

        comparison = compare_direct(build, ROW)
        assert comparison.equal
        assert [item.kind for item in comparison.inventory] == ["instance_forward"]

    def test_a_child_run_directly_in_a_compiled_model_is_the_same(self) -> None:
        assert compare_direct(zoo.compiled, ROW, at=["first"]).equal


def test_an_overridden_call_is_lost() -> None:
    comparison = compare_direct(HalfPrecision, ROW)
    assert "the output is 8×16 float32 instead of 8×16 bfloat16" in comparison.verdict
    assert "as it skips HalfPrecision.__call__" in comparison.verdict
    (hook,) = comparison.experiments[0].hooks
    assert (hook.kind, hook.called, hook.direct) == ("call_override", 1, 0)


def test_observers_see_nothing_of_a_layer_that_is_run_directly() -> None:
    assert compare_direct(zoo.observed, ROW).equal
    comparison = compare_direct(zoo.observed, ROW, at=["first"])
    (low, *_) = only(comparison, "buffer")
    assert low.path == "first.activation_post_process.min_val"
    assert float(low.before) < 0 and low.after == "inf"
    assert "quantization observer" in comparison.verdict


def test_fake_quantization_does_not_quantize_a_layer_that_is_run_directly() -> None:
    assert compare_direct(zoo.fake_quantized, ROW).equal
    comparison = compare_direct(zoo.fake_quantized, ROW, at=["first"])
    assert {difference.kind for difference in comparison.differences} >= {"output", "gradient", "buffer", "hook"}
    graph = only(comparison, "autograd-graph")[0]
    assert "without FakeQuantizePerTensorAffine" in graph.message


def test_a_weight_that_is_a_tensor_subclass_needs_no_call() -> None:
    class Marked(Tensor):
        pass

    def build() -> nn.Module:
        model = nn.Linear(16, 4)
        model.weight = nn.Parameter(model.weight.detach().as_subclass(Marked))
        return model

    assert compare_direct(build, ROW).equal


def test_a_parameter_hook_and_a_tensor_hook_fire_on_both_sides() -> None:
    def build() -> nn.Module:
        model = zoo.Layers()
        model.first.weight.register_hook(lambda gradient: 3 * gradient)
        return model

    assert compare_direct(build, ROW, at=["", "first", "second"]).equal


def test_autocast_around_the_call_and_as_a_decorator_is_the_same() -> None:
    class Decorated(zoo.Layers):
        @torch.autocast("cpu", dtype=torch.bfloat16)
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert compare_direct(Decorated, ROW).equal
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compare_direct(zoo.Layers, ROW).equal


def test_a_graph_module_skips_its_own_hooks() -> None:
    def build() -> nn.Module:
        model = torch.fx.symbolic_trace(zoo.Layers())
        model.register_forward_hook(lambda module, args, out: out + 1)
        return model

    comparison = compare_direct(build, ROW)
    assert "the output differs by up to 1" in comparison.verdict


def test_a_sparsifier_that_lives_in_a_pre_hook_gets_no_data() -> None:
    from torch.ao.pruning._experimental.activation_sparsifier.activation_sparsifier import ActivationSparsifier

    def build() -> nn.Module:
        model = zoo.Layers()
        sparsifier = ActivationSparsifier(
            model, aggregate_fn=torch.add, reduce_fn=lambda x: x.mean(0), mask_fn=lambda x: torch.ones_like(x)
        )
        sparsifier.register_layer(model.first)
        return model

    comparison = compare_direct(build, ROW, at=["first"])
    assert mechanisms(comparison) == ["activation sparsifier"]
    (hook,) = comparison.experiments[0].hooks
    assert (hook.called, hook.direct) == (1, 0)


@pytest.mark.parametrize("at", ["weight_norm", ""])
def test_cached_parametrizations_do_not_depend_on_the_call_either(at: str) -> None:
    from torch.nn.utils import parametrize

    class Cached(zoo.Parametrized):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with parametrize.cached():  # it knows modules by their id, so no other model may live in the block
                return super().forward(x) + super().forward(x)

    assert compare_direct(Cached, ROW, at=[at]).equal


def test_data_parallel_without_a_gpu_skips_only_what_is_entered_past_it() -> None:
    def build() -> nn.Module:
        model = nn.DataParallel(zoo.Layers())
        model.module.register_forward_hook(lambda module, args, out: out + 1)
        return model

    assert compare_direct(build, ROW).equal
    (experiment,) = compare_direct(build, ROW, at=["module"]).experiments
    assert experiment.entry == "model.module.forward(x)" and experiment.call == "model(x)"
    assert [(hook.called, hook.direct) for hook in experiment.hooks] == [(1, 0)]


def test_averaged_models_and_moved_modules_are_the_same() -> None:
    from torch.optim.swa_utils import AveragedModel

    assert compare_direct(lambda: AveragedModel(zoo.Layers()), ROW).equal


def test_nothing_of_torch_is_left_changed_by_a_comparison_of_hooks() -> None:
    before = dict(torch_state())
    compare_direct(zoo.EveryHook, ROW)
    assert dict(torch_state()) == before
