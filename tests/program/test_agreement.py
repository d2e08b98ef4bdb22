"""Models under the watch of `fwdtrace exec`, call by call: results as without it, and the calls that `record` sees."""

from __future__ import annotations

import pytest
import torch

import fwdtrace
from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.load import load_model
from fwdtrace.models.zoo import BUILT_INS
from fwdtrace.program.kept import KeptCall
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from tests.helpers import real_models
from tests.helpers.shares import one_in
from tests.helpers.small_models import SMALL_MODELS
from tests.oracle.agreement import Builder, Workload, built, differences_in_calls, differences_in_results, run, seen_by

CALLS = 3  # the one that is kept, the one that ends the watch over the model, and one after it
# state_dict() of a module that contains itself never ends.
ENDLESS = "Cyclic"
# What runs there is a ScriptModule, or compiled; recorded elsewhere.
OPAQUE = ("Scripted", "compiled")
# Their backward runs calls again, which are none of the program's.
RECOMPUTING = ("Recomputes", "RecomputesForward", "checkpointed")


def differences(build: Builder, *, recomputes: bool = False) -> list[str]:
    """What is not the same when a model is built, called and differentiated under a watch."""
    bare = built(build)
    expected = [run(bare, training=True) for _ in range(CALLS)]
    kept: list[KeptCall] = []
    watch = Watch(Wanted(), Options(), lambda each: kept.append(each) is not None)
    watch.begin()
    try:
        watched = built(build)
        got = [run(watched, training=True) for _ in range(CALLS)]
    finally:
        watch.end()
    recorded = built(build)
    name = type(recorded[0]).__name__
    has_parameters = next(recorded[0].parameters(), None) is not None
    with fwdtrace.record(recorded[0]) as recording:
        run(recorded, training=True)
    traces = [each.trace for each in kept if each.trace.model.class_name.rpartition(".")[2] == name]
    if has_parameters != bool(traces):
        return [f"kept were {[each.trace.model.class_name for each in kept]}"]
    calls = differences_in_calls(seen_by(recording.trace), seen_by(traces[0])) if traces else []
    results = enumerate(zip(expected, got, strict=True), 1)
    return [
        *(f"call {number}: {what}" for number, pair in results for what in differences_in_results(*pair)),
        *([] if recomputes else calls),
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in SMALL_MODELS if name not in (ENDLESS, *OPAQUE)])
def test_a_small_model_under_watch_is_as_without_it(name: str) -> None:
    assert differences(lambda: (SMALL_MODELS[name](), (torch.ones(2, 4),), {}), recomputes=name in RECOMPUTING) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [row.name for row in BUILT_INS if row.name not in OPAQUE])
def test_a_built_in_model_under_watch_is_as_without_it(name: str) -> None:
    def build() -> Workload:
        loaded = load_model(name)
        inputs = build_inputs(loaded.inputs, loaded.module, 0)
        return loaded.module, inputs.args, inputs.kwargs

    assert differences(build, recomputes=name in RECOMPUTING) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", one_in(2, real_models.FEW))
def test_a_real_model_under_watch_is_as_without_it(name: str) -> None:
    assert differences(real_models.MODELS[name]) == []
