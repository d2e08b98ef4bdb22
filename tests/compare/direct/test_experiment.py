"""compare_direct is judged on small models whose differences are known, and on what it must leave alone."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

import fwdtrace
from fwdtrace.compare.direct.comparison import DirectComparison, Experiment, Measurement
from fwdtrace.errors import FwdtraceError, SpecError
from fwdtrace.models.zoo import mechanisms
from fwdtrace.models.zoo.lenet import LeNet
from fwdtrace.models.zoo.lenets import LeNetBroken, LeNetDirect
from fwdtrace.models.zoo.mechanisms import Layers, weight_norm

KINDS = ["output", "grad_fn", "autograd graph", "gradients", "input gradients", "buffers", "random state"]
ROW = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))


def image() -> Tensor:
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def only(comparison: DirectComparison) -> Experiment:
    (experiment,) = comparison.experiments
    return experiment


def kinds_of(comparison: DirectComparison) -> set[str]:
    return {difference.kind for difference in comparison.differences}


def hooked(register: Callable[[nn.Module], Any]) -> Layers:
    model = Layers()
    register(model)
    return model


def test_a_plain_model_is_the_same_called_and_run_directly() -> None:
    comparison = fwdtrace.compare_direct(LeNet(), image())
    assert comparison.equal
    assert comparison.fix == "" and comparison.notes == () and comparison.inventory == ()
    rounds = only(comparison).rounds
    assert [(found.mode, found.name) for found in rounds] == [
        (mode, name) for mode in ("train", "eval") for name in ("first step", "second step", "changed weights")
    ]
    assert [measure.what for measure in rounds[0].measures] == [*KINDS, "training flags"]
    assert all(measure.same for found in rounds for measure in found.measures)
    assert comparison.verdict.startswith("No difference found: in 6 rounds (train and eval mode) model.forward(x)")


def test_the_functions_that_ran_are_told_for_each_side() -> None:
    experiment = only(fwdtrace.compare_direct(LeNet(), image()))
    assert experiment.called == ("Module._wrapped_call_impl", "Module._call_impl", "LeNet.forward")
    assert experiment.direct == ("LeNet.forward",)


def test_autograd_and_training_flags_do_not_depend_on_the_call() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    for found in only(fwdtrace.compare_direct(model, ROW)).rounds[:2]:
        assert Measurement("grad_fn", "MulBackward0", "MulBackward0", True) in found.measures
        assert Measurement("training flags", "unchanged", "unchanged", True) in found.measures
        assert Measurement("gradients", "4 of 4 parameters", "bit-identical", True) in found.measures
        assert Measurement("buffers", "3", "bit-identical", True) in found.measures
        assert Measurement("random state", "numbers drawn", "bit-identical", True) in found.measures


def test_a_hook_of_each_kind_would_run_once_and_never() -> None:
    probes = only(fwdtrace.compare_direct(LeNet(), image())).probes
    assert {probe.kind for probe in probes} == {
        *("forward_pre", "forward", "forward_always_call", "full_backward_pre", "full_backward"),
        *("global_forward_pre", "global_forward", "global_full_backward_pre", "global_full_backward"),
    }
    assert {(probe.called, probe.direct) for probe in probes} == {(1, 0)}


def test_the_model_and_the_random_states_are_left_as_they_were() -> None:
    model = LeNet().eval()
    model.c1.weight.grad = torch.ones_like(model.c1.weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    numbers, python = torch.get_rng_state(), random.getstate()
    fwdtrace.compare_direct(model, image())
    assert torch.equal(torch.get_rng_state(), numbers) and random.getstate() == python
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not model.training and model.c1.weight.grad is not None and model.c1.weight.grad.eq(1).all()
    assert not model._forward_hooks and model.c3.weight.grad is None


def test_the_arguments_are_left_as_they_were() -> None:
    x = ROW.clone()
    fwdtrace.compare_direct(Layers(), x)
    assert torch.equal(x, ROW) and not x.requires_grad and x.grad is None


def test_a_hook_that_only_looks_is_a_lost_observation() -> None:
    def look(*_: Any) -> None: ...

    comparison = fwdtrace.compare_direct(hooked(lambda model: model.register_forward_hook(look)), ROW)
    (difference,) = comparison.differences
    assert (difference.kind, difference.severity, difference.before, difference.after) == (
        *("hook", "observation"),
        *("once", "never"),
    )
    (item,) = comparison.inventory
    assert item.mechanism is None and item.name.endswith("look")
    assert item.file == __file__ and item.line == look.__code__.co_firstlineno


def test_a_hook_that_replaces_the_output_changes_the_numbers() -> None:
    model = hooked(lambda model: model.register_forward_hook(lambda module, args, out: out + 1))
    comparison = fwdtrace.compare_direct(model, ROW)
    worst = comparison.differences[0]
    assert (worst.kind, worst.severity) == ("output", "numbers")
    assert worst.message == "the output differs by up to 1"


def test_a_hook_that_draws_random_numbers_moves_the_random_state() -> None:
    model = hooked(lambda model: model.register_forward_pre_hook(lambda *_: torch.rand(1) and None))
    assert "random-state" in kinds_of(fwdtrace.compare_direct(model, ROW))


def test_a_hook_that_makes_the_output_require_a_gradient_is_missed() -> None:
    model = nn.Embedding(10, 4).requires_grad_(False)
    model.register_forward_hook(lambda module, args, out: out.requires_grad_())
    comparison = fwdtrace.compare_direct(model, torch.arange(4))
    messages = {difference.message for difference in comparison.differences if difference.severity == "gradients"}
    assert messages == {"the output has requires_grad=True from model(x) and False from model.forward(x)"}


def test_only_the_hooks_of_the_module_that_is_run_directly_are_skipped() -> None:
    model = Layers()
    for module in (model, model.first):
        module.register_forward_hook(lambda *_: None)
    root = only(fwdtrace.compare_direct(model, ROW))
    first = only(fwdtrace.compare_direct(model, ROW, at=["first"]))
    assert [(hook.path, hook.called, hook.direct) for hook in root.hooks] == [("", 1, 0), ("first", 1, 1)]
    assert [(hook.path, hook.called, hook.direct) for hook in first.hooks] == [("", 1, 1), ("first", 1, 0)]


def test_a_submodule_is_run_directly_from_the_line_that_calls_it() -> None:
    experiment = only(fwdtrace.compare_direct(LeNet(), image(), at=["f5"]))
    assert experiment.called == ("Module._wrapped_call_impl", "Module._call_impl", "Linear.forward")
    assert experiment.direct == ("Linear.forward",)
    assert (experiment.call, experiment.entry) == ("f5(x)", "f5.forward(x)")


def test_a_submodule_that_is_called_twice_is_run_directly_twice() -> None:
    model = LeNet()
    model.sig.register_forward_hook(lambda *_: None)
    (hook,) = only(fwdtrace.compare_direct(model, image(), at=["sig"])).hooks
    assert (hook.called, hook.direct) == (2, 0)


def test_a_global_hook_misses_the_one_module() -> None:
    handle = register_module_forward_pre_hook(lambda module, args: None)
    try:
        experiment = only(fwdtrace.compare_direct(Layers(), ROW))
    finally:
        handle.remove()
    counts = {hook.path: (hook.called, hook.direct) for hook in experiment.hooks}
    assert counts == {"": (1, 0), "first": (1, 1), "act": (1, 1), "second": (1, 1)}


def test_each_runs_every_submodule_in_turn() -> None:
    comparison = fwdtrace.compare_direct(Layers(), ROW, each=True)
    assert [found.target for found in comparison.experiments] == ["first", "act", "second"]
    assert comparison.equal and "each of 3 modules" in comparison.verdict


def test_a_module_that_the_model_never_calls_is_not_measured() -> None:
    comparison = fwdtrace.compare_direct(nn.MultiheadAttention(16, 2), *[ROW] * 3, at=["out_proj"])
    assert not only(comparison).reached and only(comparison).rounds == ()
    assert comparison.verdict == "Nothing to compare: the model never calls what was to be run directly."


def test_a_path_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SpecError, match="no module 'third'; it has first, act, second"):
        fwdtrace.compare_direct(Layers(), ROW, at=["third"])


def test_nested_outputs_and_keyword_arguments_are_compared_by_their_places() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 4)

        def forward(self, *, x: Tensor) -> dict[str, Any]:
            return {"pair": (self.layer(x), 1.5), "text": "out"}

    model = Net()
    model.register_forward_hook(lambda module, args, out: {**out, "pair": (out["pair"][0], 2.5)})
    comparison = fwdtrace.compare_direct(model, x=ROW)
    assert {difference.message for difference in comparison.differences if difference.kind == "output"} == {
        "output pair[1] is 1.5 instead of 2.5"
    }
    assert Measurement("input gradients", "1 of 1 inputs", "bit-identical", True) in only(comparison).rounds[0].measures


def test_a_model_that_writes_its_input_is_compared_without_its_gradient() -> None:
    comparison = fwdtrace.compare_direct(nn.ReLU(inplace=True), ROW)
    assert comparison.equal
    assert comparison.notes == ("gradients of the inputs were not compared: with them the model cannot run",)


def test_a_mode_in_which_the_model_itself_raises_is_said() -> None:
    comparison = fwdtrace.compare_direct(nn.BatchNorm1d(4), torch.randn(1, 4))
    assert comparison.equal
    (note,) = comparison.notes
    assert note.startswith("train mode: model(x) itself raises ValueError in forward: Expected more than 1 value")


def test_a_model_that_raises_is_refused_and_its_error_is_the_cause() -> None:
    with pytest.raises(FwdtraceError, match="nothing to compare") as raised:
        fwdtrace.compare_direct(LeNetBroken(), image())
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_what_a_model_does_differently_each_time_is_not_blamed_on_the_direct_call() -> None:
    calls = count()

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + next(calls)

    comparison = fwdtrace.compare_direct(Net(), ROW)
    assert comparison.equal
    (note,) = comparison.notes
    assert note.startswith("not counted, as the model differs from itself when it is called twice: the output differs")


def test_a_model_that_differs_from_build_to_build_is_refused() -> None:
    sizes = count()

    def build() -> nn.Module:
        return nn.Linear(16, 4) if next(sizes) % 2 else nn.Linear(16, 5)

    with pytest.raises(FwdtraceError, match="differs from build to build, in weight"):
        fwdtrace.compare_direct(build, ROW)


def test_a_function_that_gives_one_and_the_same_model_is_copied() -> None:
    model = Layers()
    assert fwdtrace.compare_direct(lambda: model, ROW).copies == "a deep copy"
    assert fwdtrace.compare_direct(Layers, ROW).copies == "a model built anew"


def test_a_function_that_gives_no_model_is_refused() -> None:
    with pytest.raises(FwdtraceError, match="returned an int, not an nn"):
        fwdtrace.compare_direct(lambda: 3, ROW)  # type: ignore[arg-type, return-value]


def compiled() -> nn.Module:
    model = Layers()
    model.compile(backend="eager")
    return model


def with_forward_of_its_own() -> nn.Module:
    model = Layers()
    forward = model.forward
    model.forward = lambda x: forward(x)  # type: ignore[method-assign]
    return model


def with_hook_on_another() -> nn.Module:
    model = Layers()
    model.first.register_forward_hook(lambda *_: model.second and None)
    return model


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (weight_norm, "weight is computed from other tensors and copy.deepcopy raised RuntimeError"),
        (compiled, "the model was compiled in place, which copying undoes"),
        (with_forward_of_its_own, "the model has a forward function of its own, which its copies would share"),
        (with_hook_on_another, "a hook on first holds a module, which the copies would share"),
    ],
)
def test_a_model_that_cannot_be_copied_faithfully_is_refused_with_the_reason(
    build: Callable[[], nn.Module], reason: str
) -> None:
    with pytest.raises(FwdtraceError) as raised:
        fwdtrace.compare_direct(build(), ROW)
    assert reason in str(raised.value)
    assert str(raised.value).endswith("give a function that builds the model, as in compare_direct(build, x)")


def test_a_direct_call_in_the_model_itself_is_found_on_both_sides_alike() -> None:
    comparison = fwdtrace.compare_direct(LeNetDirect, image())
    assert comparison.equal
    (finding,) = comparison.findings
    assert finding.code == "FT001" and finding.site is not None
    assert finding.site.code == "x = self.f5.forward(x)"


@pytest.mark.parametrize("build", [mechanisms.Layers, mechanisms.EveryHook, mechanisms.spectral_norm, mechanisms.lazy])
def test_the_schema_takes_what_is_measured(build: Any) -> None:
    stream = io.StringIO()
    fwdtrace.compare_direct(build, torch.ones(8, 16)).write(stream)
    schema = Path(fwdtrace.__file__).parent / "trace" / "schema" / "comparison-1.json"
    jsonschema.validate(json.loads(stream.getvalue()), json.loads(schema.read_text(encoding="utf-8")))


def test_a_comparison_prints_itself_and_is_saved(tmp_path: Any) -> None:
    comparison = fwdtrace.compare_direct(Layers(), ROW)
    assert "No difference found" in str(comparison)
    comparison.save(tmp_path / "comparison.json")
    assert (tmp_path / "comparison.json").read_text().startswith('{"format": "fwdtrace.comparison/1"')
