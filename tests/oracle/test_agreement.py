"""The recorder against the oracle, call for call, and the recorded run against the bare one, bit for bit."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest
import torch

import fwdtrace
from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.load import load_model
from fwdtrace.models.zoo import BUILT_INS
from tests.helpers import awkward_models, models, real_models
from tests.helpers.small_models import SMALL_MODELS
from tests.oracle.agreement import (
    Workload,
    built,
    differences_in_both_modes,
    differences_in_calls,
    differences_in_results,
    disagreements,
    run,
    seen_by,
    tensors_in,
)
from tests.oracle.oracle import observe

both_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])

# state_dict() of a module that contains itself never ends, so this one is judged on its calls alone.
ENDLESS = "Cyclic"
ERRORS = {
    "Encoder": "NotImplementedError",
    "Raises": "ValueError",
    "RaisesBelow": "ValueError",
    "Interrupted": "KeyboardInterrupt",
    "CleansUpAfterAnInterrupt": "KeyboardInterrupt",
    "lenet-broken": "RuntimeError",
}
# The stale weight was computed from a magnitude that has been changed in place since.
ERRORS_IN_BACKWARD = {"stale-weight": "RuntimeError"}
# A compiled region is opaque to the recorder; the oracle sees some of what the compiler runs there.
COMPILED = "compiled"
# The recomputation of a checkpoint ends by an exception once it has what it needs: no error of the model's.
STOPPED_EARLY = "checkpointed"


@both_modes
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("name", [name for name in SMALL_MODELS if name != ENDLESS])
def test_a_small_model_is_recorded_as_the_oracle_sees_it(name: str, training: bool) -> None:
    def build() -> Workload:
        return SMALL_MODELS[name](), (torch.ones(2, 4),), {}

    assert disagreements(build, training=training, raises=ERRORS.get(name)) == []


def test_a_model_that_contains_itself_is_recorded_as_the_oracle_sees_it() -> None:
    model, x = awkward_models.Cyclic(), torch.ones(2, 4)
    with observe(model) as oracle:
        model(x)
    with fwdtrace.record(model) as recording:
        model(x)
    assert differences_in_calls(oracle.calls, seen_by(recording.trace)) == []


@both_modes
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [row.name for row in BUILT_INS if row.name != COMPILED])
def test_a_built_in_model_is_recorded_as_the_oracle_sees_it(name: str, training: bool) -> None:
    raises = ERRORS.get(name) or (ERRORS_IN_BACKWARD.get(name) if training else None)
    found = disagreements(lambda: built_in(name, training), training=training, raises=raises)
    if name == STOPPED_EARLY:
        found = [difference for difference in found if "raised is False" not in difference]
    assert found == []


@both_modes
@pytest.mark.filterwarnings("ignore")
def test_of_a_compiled_model_only_the_call_itself_is_recorded(training: bool) -> None:
    bare, recorded = (built(lambda: built_in(COMPILED, training)) for _ in range(2))
    with observe(bare[0]) as oracle:
        expected = run(bare, training=training)
    with fwdtrace.record(recorded[0]) as recording:
        got = run(recorded, training=training)
    assert seen_by(recording.trace) == oracle.calls[:1]
    assert differences_in_results(expected, got) == []


def built_in(name: str, training: bool) -> Workload:
    """A built-in model and the inputs that it wants, with gradients in training."""
    loaded = load_model(name)
    inputs = build_inputs(loaded.inputs, loaded.module, seed=0)
    for leaf in tensors_in((inputs.args, inputs.kwargs)):
        leaf.requires_grad_(training and leaf.is_floating_point())
    return loaded.module, inputs.args, inputs.kwargs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", real_models.FEW)
def test_a_real_model_is_recorded_as_the_oracle_sees_it_and_no_option_changes_its_results(name: str) -> None:
    assert differences_in_both_modes(real_models.MODELS[name]) == {}


@pytest.mark.filterwarnings("ignore")
def test_the_direct_calls_in_squeezebert_are_found_and_no_others() -> None:
    model, args, kwargs = built(real_models.MODELS["transformers:SqueezeBertModel"])
    source = inspect.getsourcefile(import_module(type(model).__module__))
    assert source is not None
    with open(source, encoding="utf-8") as lines:
        culprits = [number for number, line in enumerate(lines, start=1) if "layer.forward(" in line]
    with fwdtrace.record(model) as recording:
        model.eval()(*args, **kwargs)
    direct = [call for call in recording.trace.calls if call.entry == "forward"]
    sites = [(call.site.file, call.site.line) for call in direct if call.site]
    assert len(culprits) == 1
    assert sites == [(source, culprits[0])] * 3
    named = [finding for finding in recording.trace.findings if finding.code == "FT001"]
    assert [finding.call for finding in named] == [call.id for call in direct]


def test_a_difference_between_two_accounts_is_named() -> None:
    with observe(model := models.CallsTwice()) as oracle:
        model(torch.ones(2, 4))
    with fwdtrace.record(other := models.CallsDirectly()) as recording:
        other(torch.ones(2, 4))
    found = differences_in_calls(oracle.calls, seen_by(recording.trace))
    assert "call 2 (layer): entry is 'forward', not '__call__'" in found
    assert "call 1 (layer): path is 'first', not 'layer'" in found


def test_a_run_that_is_not_repeatable_is_named() -> None:
    scales = iter([1.0, 2.0])

    def build() -> Workload:
        model = awkward_models.UsesDropout()
        with torch.no_grad():
            model.layer.weight.mul_(next(scales))
        return model, (torch.arange(8.0).view(2, 4),), {}

    assert {"outputs", "gradients", "state"} <= set(disagreements(build, training=True))
