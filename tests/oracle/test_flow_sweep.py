"""The sources that a trace states, edge for edge as the graph of torch.fx has them and as an observer of kernels does.

The whole of it takes many minutes and is no part of the default run; a handful of models is.
"""

from __future__ import annotations

import pytest
import torch

import fwdtrace
from fwdtrace.models.zoo import BUILT_INS
from fwdtrace.trace import Trace
from tests.helpers.families import FAMILIES
from tests.helpers.shares import every_other_design, one_in
from tests.oracle.agreement import Workload, built
from tests.oracle.fx_flow import differences_from_graph
from tests.oracle.observer import Observer, judged
from tests.oracle.test_agreement import built_in

pytestmark = pytest.mark.filterwarnings("ignore")

TORCHVISION = [name for name in FAMILIES if name.startswith("torchvision:")]
# Their forwards branch on values or sizes, which no symbolic trace can follow.
BRANCHES = """
    convit_tiny cpubone_nano crossvit_tiny_240 efficientvit_b0 efficientvit_m0 hiera_tiny_224 mobilenetv5_base
    mobilevit_xxs mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_parfac_gap nest_tiny qwen3_vit_88m
    samvit_base_patch16_224 test_vit tiny_vit_5m_224 twins_svt_small vgg11
"""
# Every other one of the many: the sweep has an end.
TIMM = [name for name in FAMILIES if name.startswith("timm:") and name.removeprefix("timm:") not in BRANCHES.split()][
    ::2
]
TRANSFORMERS = [name for name in FAMILIES if name.startswith("transformers:")][::2]
# It calls the forward of a layer directly, where the observer, which patches `__call__`, does not look.
OTHERWISE_OBSERVED = {"transformers:prophetnet"}

FEW_GRAPHS = ("torchvision:resnet18", "torchvision:densenet121", "torchvision:swin_t", "timm:convnextv2_atto")
FEW_OBSERVED = ("transformers:llama", "transformers:t5", "transformers:mixtral", "transformers:vit")


def differences(name: str) -> list[str]:
    """What the trace of a model says otherwise than its graph."""
    model, args, _ = built(FAMILIES[name])
    with torch.no_grad():
        return differences_from_graph(model, recorded((model.eval(), args, {})), args)


def recorded(workload: Workload) -> Trace:
    model, args, kwargs = workload
    with torch.no_grad(), fwdtrace.record(model, ops=True) as recording:
        model(*args, **kwargs)
    return recording.trace


@pytest.mark.parametrize("name", FEW_GRAPHS)
def test_the_sources_of_a_few_models_are_the_edges_of_their_graphs(name: str) -> None:
    assert differences(name) == []


@pytest.mark.parametrize("name", every_other_design(name for name in (*TORCHVISION, *TIMM) if name not in FEW_GRAPHS))
def test_the_sources_of_a_model_are_the_edges_of_its_graph(name: str) -> None:
    assert differences(name) == []


# Of the others torch.fx makes no graph, or one with calls that are direct, of a lone layer, or given by keyword.
TRACEABLE = """
    blocks call-override checkpointed every-hook fake-quantized gradient-hook half-precision hooks lenet
    lenet-functional observed parametrized shared super-forward
"""


@pytest.mark.parametrize("name", [row.name for row in BUILT_INS if row.name in TRACEABLE.split()])
def test_the_sources_of_a_built_in_model_are_the_edges_of_its_graph(name: str) -> None:
    model, args, kwargs = built(lambda: built_in(name, training=False))
    with torch.no_grad():
        assert differences_from_graph(model, recorded((model.eval(), args, kwargs)), args) == []


def test_enough_models_of_every_library_have_a_graph() -> None:
    assert len(TORCHVISION) >= 80
    assert len(TIMM) >= 60
    assert len(TRANSFORMERS) >= 100


def unlike_the_kernels(name: str) -> list[str]:
    """Every source that kernels contradict, or that is not said though the kernels know it."""
    model, args, kwargs = built(FAMILIES[name])
    trace = recorded((model.eval(), args, kwargs))
    model, args, kwargs = built(FAMILIES[name])
    with torch.no_grad(), Observer(model.eval()) as observer:
        model(*args, **kwargs)
    judgement = judged(trace, observer)
    assert judgement.right > 0
    return [*judgement.wrong, *judgement.missing]


@pytest.mark.parametrize("name", FEW_OBSERVED)
def test_the_kernels_of_a_few_models_confirm_every_source(name: str) -> None:
    assert unlike_the_kernels(name) == []


@pytest.mark.parametrize("name", one_in(2, sorted({*TRANSFORMERS} - {*FEW_OBSERVED} - OTHERWISE_OBSERVED)))
def test_the_kernels_of_a_model_confirm_every_source(name: str) -> None:
    assert unlike_the_kernels(name) == []
