"""FLOPs per call, judged against torch's FlopCounterMode; counting changes no bit of what the model computes."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import fwdtrace
from fwdtrace.models.zoo.lenet import LeNet
from fwdtrace.trace import Trace
from tests.helpers.real_models import MODELS
from tests.oracle.agreement import Workload, built, differences_in_results, run

X = torch.ones(2, 4)


def lenet() -> Workload:
    return LeNet(), (torch.rand(1, 3, 32, 32),), {}


def recurrent() -> Workload:
    return nn.LSTM(8, 16, num_layers=2), (torch.rand(5, 2, 8),), {}


def encoder() -> Workload:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2), (torch.rand(2, 5, 16),), {}


WORKLOADS = {
    "lenet": lenet,
    "lstm": recurrent,
    "encoder": encoder,
    "resnet18": MODELS["torchvision:resnet18"],
    "vit": MODELS["torchvision:VisionTransformer"],
    "llama": MODELS["transformers:LlamaForCausalLM"],
}


def counted(model: nn.Module, *args: Any, **kwargs: Any) -> Trace:
    with fwdtrace.record(model, costs=True) as recording:
        model(*args, **kwargs)
    return recording.trace


def flops(trace: Trace) -> dict[str | None, int | None]:
    return {call.path: call.flops for call in trace.calls}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("build", WORKLOADS.values(), ids=WORKLOADS)
def test_the_total_is_what_torch_counts(build: Callable[[], Workload], training: bool) -> None:
    model, args, kwargs = built(build)
    model.train(training)
    with torch.set_grad_enabled(training), FlopCounterMode(display=False) as counter:
        model(*args, **kwargs)
    model, args, kwargs = built(build)
    model.train(training)
    with torch.set_grad_enabled(training):
        trace = counted(model, *args, **kwargs)
    assert trace.calls[0].flops == counter.get_total_flops()


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("build", [*WORKLOADS.values(), MODELS["timm:mobilevit_xxs"]], ids=[*WORKLOADS, "mobilevit"])
def test_counting_changes_no_bit(build: Callable[[], Workload], training: bool) -> None:
    expected = run(built(build), training=training)
    workload = built(build)
    with fwdtrace.record(workload[0], costs=True, gradients=True):
        got = run(workload, training=training)
    assert differences_in_results(expected, got) == []


@pytest.mark.parametrize("build", [lenet, recurrent, MODELS["transformers:LlamaForCausalLM"]])
def test_inference_mode_counts_the_same_and_computes_the_same(build: Callable[[], Workload]) -> None:
    model, args, kwargs = built(build)
    model.eval()
    with torch.no_grad():
        expected = counted(model, *args, **kwargs).calls[0].flops
    with torch.inference_mode():
        bare = model(*args, **kwargs)
        with fwdtrace.record(model, costs=True) as recording:
            output = model(*args, **kwargs)
    assert recording.trace.calls[0].flops == expected
    pairs = zip(torch.utils._pytree.tree_leaves(bare), torch.utils._pytree.tree_leaves(output), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor))


def test_a_call_has_its_own_operations_and_those_of_its_submodules() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 3)))
    linear, last = 2 * 2 * 4 * 8, 2 * 2 * 8 * 3
    assert flops(counted(model, X)) == {"": linear + last, "0": linear, "1": 0, "2": last, "2.0": last}


def test_flops_are_there_only_if_asked_for() -> None:
    model = nn.Linear(4, 4)
    with fwdtrace.record(model) as recording:
        model(X)
    assert recording.trace.calls[0].flops is None


def test_an_inner_recording_that_counts_leaves_the_outer_without() -> None:
    model = nn.Linear(4, 4)
    with fwdtrace.record(model) as outer, fwdtrace.record(model, costs=True) as inner:
        model(X)
    assert outer.trace.calls[0].flops is None
    assert inner.trace.calls[0].flops == 2 * 2 * 4 * 4


def test_two_recordings_that_count_do_not_count_twice() -> None:
    model = nn.Linear(4, 4)
    with fwdtrace.record(model, costs=True) as outer, fwdtrace.record(model, costs=True) as inner:
        model(X)
    assert outer.trace.calls[0].flops == inner.trace.calls[0].flops == 2 * 2 * 4 * 4


def test_backward_is_not_counted() -> None:
    model = nn.Linear(4, 4)
    with fwdtrace.record(model, costs=True) as recording:
        model(X).sum().backward()
    assert recording.trace.calls[0].flops == 2 * 2 * 4 * 4


class Recomputes(nn.Module):
    """Two layers that run again during backward, as far as their results are needed."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.block, x, use_reentrant=False)


def test_what_a_checkpoint_computes_again_is_counted_for_the_call_that_does_it() -> None:
    model = Recomputes()
    with fwdtrace.record(model, costs=True) as recording:
        model(X.clone().requires_grad_()).sum().backward()
    assert [call.flops for call in recording.trace.at("block.0")] == [64, 64]
    assert [call.flops for call in recording.trace.at("block.1")] == [64, 0]  # its result is not needed again
    assert recording.trace.calls[0].flops == 128


def test_a_compiled_call_has_no_count_and_neither_has_its_caller(dynamo: None) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].compile(backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts = flops(counted(model, X))
    assert counts == {"": None, "0": None, "1": 64}


@pytest.mark.filterwarnings("ignore")
def test_code_with_graph_breaks_computes_the_same_while_it_is_counted(dynamo: None) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            x = self.first(x)
            torch._dynamo.graph_break()
            return self.second(torch.relu(x))

    model = Breaks()
    compiled = torch.compile(model, backend="aot_eager")
    expected = model(X)
    with fwdtrace.record(compiled, costs=True) as recording:
        output = compiled(X)
    assert torch.equal(output, expected)
    assert recording.trace.calls[0].flops is None


def test_counting_imports_no_compiler() -> None:
    code = "import sys, torch, fwdtrace; m = torch.nn.Linear(2, 2)\n"
    code += "with fwdtrace.record(m, costs=True): m(torch.ones(1, 2))\nprint('torch._dynamo' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_an_operation_on_a_nested_tensor_is_counted_as_what_is_computed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ragged = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=torch.jagged)
        model = nn.Linear(4, 4)
        bare = model(ragged)
        with fwdtrace.record(model, costs=True) as recording:
            output = model(ragged)
    assert recording.trace.calls[0].flops == 2 * 5 * 4 * 4
    assert torch.equal(output.values(), bare.values())


def test_nothing_counts_when_the_block_raised() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), fwdtrace.record(model, costs=True):
        model(torch.ones(2, 3))
    with fwdtrace.record(model, costs=True) as recording:
        model(X)
    assert recording.trace.calls[0].flops == 64
