"""Compiled, scripted, exported and traced models: what is recorded of them, and that they stay what they are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import fwdtrace
from tests.helpers.models import Chain
from tests.helpers.recorded import entries, recorded

X = torch.ones(2, 4)


pytestmark = pytest.mark.usefixtures("dynamo")


def test_a_lazy_graph_module_is_compiled_and_recorded() -> None:
    from torch.fx._lazy_graph_module import _LazyGraphModule

    model = _LazyGraphModule(Chain(), fx.symbolic_trace(Chain()).graph)
    assert entries(recorded(model, X)) == [("", "__call__"), ("first", "__call__"), ("second", "__call__")]


def test_a_script_module_is_one_call_that_says_so() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(torch.jit.script(Chain()), nn.ReLU())
    trace = recorded(model, X)
    assert [(call.path, call.opaque) for call in trace.calls] == [("", None), ("0", "script"), ("1", None)]
    assert trace.calls[1].outputs[0].shape == (2, 3)  # type: ignore[union-attr]
    assert [finding.code for finding in trace.findings] == ["FT007"]


COMPILED: dict[str, Callable[[nn.Module], Any]] = {
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "fullgraph": lambda model: torch.compile(model, backend="eager", fullgraph=True),
    "module.compile": lambda model: model.compile(backend="eager") or model,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", COMPILED)
def test_a_compiled_model_is_one_opaque_call_with_the_same_result(how: str) -> None:
    torch._dynamo.reset()
    model = Chain()
    expected = model(X)
    compiled = COMPILED[how](model)
    with fwdtrace.record(compiled) as recording:
        assert torch.equal(compiled(X), expected)
    calls = recording.trace.calls
    assert [(call.path, call.opaque, call.entry) for call in calls] == [("", "compiled", "__call__")]
    assert [finding.code for finding in recording.trace.findings] == ["FT007"]


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_that_is_made_to_run_eagerly_shows_its_calls() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(Chain(), backend="eager")
    with torch.compiler.set_stance("force_eager"):
        trace = recorded(compiled, X)
    assert [(call.class_name, call.opaque) for call in trace.calls] == [
        ("OptimizedModule", None),
        ("Chain", None),
        ("Linear", None),
        ("Linear", None),
    ]


@pytest.mark.filterwarnings("ignore")
def test_a_direct_call_skips_module_compile_and_the_finding_says_so() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Chain()
            self.layer.compile(backend="eager")

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.forward(x)

    torch._dynamo.reset()
    trace = recorded(Net(), X)
    assert entries(trace)[1] == ("layer", "forward")
    assert [finding.code for finding in trace.findings] == ["FT001", "FT002"]
    assert "module.compile()" in trace.findings[1].message


@pytest.mark.filterwarnings("ignore")
def test_export_script_trace_and_fx_inside_the_block_give_what_they_give_without() -> None:
    class Plain(Chain):
        pass

    model = Plain().eval()
    programs: dict[str, Callable[[], str]] = {
        "export": lambda: str(torch.export.export(model, (X,)).graph),
        "strict export": lambda: str(torch.export.export(model, (X,), strict=True).graph),
        "trace": lambda: str(torch.jit.trace(model, X).inlined_graph),
        "script": lambda: str(torch.jit.script(nn.Sequential(nn.Linear(4, 4))).inlined_graph),
        "fx": lambda: str(fx.symbolic_trace(model).graph),
    }
    before = {name: make() for name, make in programs.items()}
    with fwdtrace.record(model):
        meanwhile = {name: make() for name, make in programs.items()}
    for name in programs:
        assert without_addresses(meanwhile[name]) == without_addresses(before[name]), name


def without_addresses(text: str) -> list[str]:
    return [re.sub(r"___torch_mangle_\d+\.| #.*", "", line) for line in text.splitlines()]
