"""Real models against copies of themselves: equal as they are, and parted at the layer whose weight was changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fwdtrace import record
from fwdtrace.compare.two_models.recorded import Runnable
from fwdtrace.compare.two_models.runs import compare_runs
from fwdtrace.models.zoo.lenet import LeNet
from tests.helpers import real_models
from tests.helpers.commands import Command
from tests.helpers.families import FAMILIES
from tests.helpers.real_models import MODELS
from tests.helpers.shares import one_in
from tests.oracle.agreement import Builder, Workload

Change = Callable[[nn.Module, str], None]


def lenet() -> Workload:
    return LeNet(), (torch.randn(1, 3, 32, 32),), {}


def vit() -> Workload:
    import timm

    options: dict[str, Any] = {"pretrained": False, "depth": 4, "embed_dim": 48, "num_heads": 3, "drop_rate": 0.1}
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, proj_drop_rate=0.1, **options)
    return model, (real_models.images(64),), {}


def at(module: nn.Module) -> Change:
    return lambda model, path: model.set_submodule(path, module)


def epsilon(model: nn.Module, path: str) -> None:
    setattr(model.get_submodule(path), "eps", 1e-3)  # noqa: B010  (to mypy every attribute of a module is a module)


BERT = MODELS["transformers:BertForSequenceClassification"]
LAYER = "bert.encoder.layer.1"


@pytest.mark.parametrize(
    ("build", "path", "change"),
    [
        (lenet, "sig", at(nn.Tanh())),
        (lenet, "s2", at(nn.AvgPool2d(2))),
        (vit, "blocks.2.mlp.act", at(nn.ReLU())),
        (vit, "blocks.3.norm1", epsilon),
        (vit, "blocks.1.mlp.drop1", at(nn.Identity())),
        (BERT, f"{LAYER}.intermediate.intermediate_act_fn", at(nn.Tanh())),
        (BERT, f"{LAYER}.output.LayerNorm", epsilon),
        (BERT, f"{LAYER}.output.dropout", at(nn.Identity())),
    ],
)
def test_the_origin_is_the_activation_epsilon_or_dropout_that_was_changed(
    build: Builder, path: str, change: Change
) -> None:
    model, args, kwargs = build()
    other = copy.deepcopy(model)
    change(other, path)
    found = compare_runs(Runnable(model.train(), args, kwargs), Runnable(other.train(), args, kwargs))
    assert found.origin is not None and (found.origin.path, found.origin.nth) == (path, 1)
    assert found.origin.why


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [lenet, vit, BERT])
def test_a_model_with_dropout_is_its_own_equal_over_random_inputs_and_repeated_runs(build: Builder) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        assert_is_its_own_equal(build)


@pytest.mark.sweep
def test_two_libraries_have_the_same_mobilenet_under_other_names(command: Command, folder: Path) -> None:
    ran = command("compare", "torchvision:mobilenet_v2", "timm:mobilenetv2_100", "--same-init")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("No difference found: the result of both models is bit-identical.")
    assert "Note: 314 of 314 weights of the second are copies of the first's" in ran.out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", one_in(4, list(MODELS)[::2]))
def test_a_real_model_is_its_own_equal(name: str) -> None:
    assert_is_its_own_equal(MODELS[name])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", one_in(4, [name for name in FAMILIES if name.startswith("transformers:")][:170]))
def test_nothing_is_ever_found_between_a_model_and_itself(name: str) -> None:
    model, args, kwargs = FAMILIES[name]()
    side = Runnable(model.eval(), args, kwargs)
    with torch.no_grad():
        model(*args, **kwargs)  # some models keep a table, or rescale their weights, in their first run
    found = compare_runs(side, side)
    assert found.equal and not found.differences and found.origin is None, found.verdict


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", one_in(4, list(MODELS)[1::2]))
def test_a_real_model_leaves_its_copy_at_the_layer_with_other_weights(name: str) -> None:
    model, args, kwargs = MODELS[name]()
    path = a_layer_in_the_middle(model.eval(), args, kwargs)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.get_submodule(path).parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    found = compare_runs(Runnable(model, args, kwargs), Runnable(other, args, kwargs))
    assert found.origin is not None and found.origin.path == path
    assert any("differs" in why for why in found.origin.why)


def assert_is_its_own_equal(build: Builder) -> None:
    model, args, kwargs = build()
    side = partial(Runnable, args=args, kwargs=kwargs)
    found = compare_runs(side(model.train()), side(copy.deepcopy(model).train()))
    assert found.equal and found.verdict.endswith("bit-identical.")
    with torch.no_grad():
        model.eval()(*args, **kwargs)  # some models keep a table, or rescale their weights, in their first run
    assert compare_runs(side(model), side(model)).equal


def a_layer_in_the_middle(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The path of a layer that is called, calls nothing, and holds parameters that no layer before it holds."""
    with torch.no_grad(), record(model) as recording:
        model(*args, **kwargs)
    inner = {call.parent for call in recording.trace.calls}
    seen: set[int] = set()
    found = []
    for call in recording.trace.calls:
        if not call.path or call.id in inner:
            continue
        own = [*model.get_submodule(call.path).parameters()]
        if own and not seen.intersection(map(id, own)):
            found.append(call.path)
        seen.update(map(id, own))
    return found[len(found) // 2]
