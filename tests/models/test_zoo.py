"""Each built-in model is judged by whether it really shows what its line in the table says."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.load import load_model
from fwdtrace.models.zoo import BUILT_INS


def output_of(name: str) -> object:
    loaded = load_model(name)
    inputs = build_inputs(loaded.inputs, loaded.module, 0)
    return loaded.module.eval()(*inputs.args, **inputs.kwargs)


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize("name", [model.name for model in BUILT_INS if model.name != "lenet-broken"])
def test_a_built_in_model_runs_on_the_inputs_it_wants(name: str) -> None:
    assert output_of(name) is not None


def test_names_are_unique_and_lines_fit_80_columns() -> None:
    names = [model.name for model in BUILT_INS]
    assert len(set(names)) == len(names)
    assert max(max(map(len, names)) + 2 + len(model.summary) for model in BUILT_INS) <= 80


def test_the_table_does_not_import_torch() -> None:
    code = "import fwdtrace.models.zoo, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_lenet_is_the_model_that_the_articles_teach() -> None:
    loaded = load_model("lenet")
    order: list[str] = []
    for name, layer in loaded.module.named_children():
        layer.register_forward_hook(lambda *_, name=name: order.append(name))
    output = loaded.module(torch.zeros(1, 3, 32, 32))
    assert order == ["c1", "sig", "s2", "c3", "sig", "s2", "flatten", "f5", "f6", "f7"]
    assert output.shape == (1, 10)
    assert sum(parameter.numel() for parameter in loaded.module.parameters()) == 62_006


def test_lenet_direct_computes_the_same_and_its_hook_does_not_fire() -> None:
    direct, plain = load_model("lenet-direct").module, load_model("lenet").module
    direct.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(direct(x), plain(x))
    assert direct.features == []
    direct.f5(torch.zeros(1, 400))
    assert len(direct.features) == 1


def test_lenet_broken_fails_at_f5() -> None:
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(1x400 and 256x120\)"):
        output_of("lenet-broken")


def test_unregistered_layers_have_parameters_that_the_model_does_not_know() -> None:
    model = load_model("unregistered").module
    assert {name for name, _ in model.named_parameters()} == {"head.weight", "head.bias"}
    assert all(isinstance(layer, nn.Module) for layer in model.layers)


def test_the_override_of_call_is_lost_by_a_direct_call() -> None:
    called, direct = output_of("call-override")
    assert (called.dtype, direct.dtype) == (torch.bfloat16, torch.float32)


def test_a_direct_call_computes_with_the_stale_weight() -> None:
    model = load_model("stale-weight").module
    direct, called = model(torch.ones(1, 16))
    assert torch.allclose(called - model.normed.bias, 2 * (direct - model.normed.bias))


def test_the_hook_on_the_first_layer_replaces_its_output() -> None:
    model = load_model("hooks").module
    seen: list[torch.Tensor] = []
    model.second.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(torch.randn(4, 16))
    assert seen[0].min() == 0


def test_the_model_that_catches_an_error_goes_the_other_way() -> None:
    model = load_model("caught").module
    x = torch.randn(1, 16)
    assert torch.equal(model(x), model.wide(x))
