"""FT011 on small models whose graph is used twice: where backward came again, and through which argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.recorder.torch_internals import SAVED_CAN_BE_READ
from tests.helpers.training import findings, images, layer, net

pytestmark = pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")


def exponential(model: Any, x: Tensor) -> Tensor:
    return torch.exp(model.a(x))


def test_two_backward_passes_from_one_output_are_told() -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        output = model(x)
        output.mean().backward()
        output.sum().backward()

    ((code, message, line),) = findings(net(exponential, a=layer()), images(), steps=steps)
    assert (code, line) == ("FT011", "return torch.exp(model.a(x))")
    assert message == (
        "backward came a second time to torch.exp in the model (return torch.exp(model.a(x))),"
        " whose graph an earlier backward freed: both began at what came out of the model"
    )


def test_a_loss_that_is_used_twice_is_told_apart_from_the_model() -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        loss = model(x).pow(2).sum()
        loss.backward()
        loss.backward()

    assert findings(net(exponential, a=layer()), images(), steps=steps) == [
        (
            "FT011",
            "backward came a second time to what follows the model, the loss, whose graph an earlier backward freed",
            "",
        )
    ]


def cell(model: Any, x: Tensor, h: Any) -> Any:
    h = torch.tanh(model.a(x) + model.b(h))
    return model.out(h), h


def lstm(model: Any, x: Tensor, h: Any) -> Any:
    return model.cells(x, h)


@pytest.mark.parametrize(
    ("forward", "parts", "state", "argument"),
    [
        (cell, {"a": layer(), "b": layer(), "out": layer()}, torch.zeros(3, 4), "h"),
        (lstm, {"cells": nn.LSTM(4, 4)}, None, "h[0]"),
    ],
    ids=["cell", "lstm"],
)
def test_a_state_that_is_carried_with_its_graph_is_named(
    forward: Any, parts: dict[str, Any], state: Any, argument: str
) -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        h = state
        for _ in range(3):
            y, h = model(x, h)
            y.sum().backward()

    ((code, message, _),) = findings(net(forward, **parts), images(), steps=steps)
    assert code == "FT011"
    assert message.endswith(
        f"it came back through `{argument}` of the model #2, which the model gave with its graph;"
        f" pass `{argument}.detach()` in its place (not tried)"
    )


def test_a_generator_whose_graph_the_discriminator_freed_is_named() -> None:
    def steps(model: Any, x: Tensor) -> None:
        made = model.generator(x)
        model.judge(made).mean().backward()
        model.judge(made).sum().backward()

    def forward(model: Any, x: Tensor) -> Any:
        return model.judge(model.generator(x))

    model = net(forward, generator=nn.Sequential(layer(), nn.Tanh()), judge=layer())
    ((code, message, _),) = findings(model, images(), steps=steps)
    assert code == "FT011"
    assert message.startswith("backward came a second time to generator.1")
    assert message.endswith(
        "it came back through `input` of judge #2, which generator gave with its graph;"
        " pass `input.detach()` in its place (not tried)"
    )


def test_a_retained_graph_is_no_finding() -> None:
    def steps(model: nn.Module, x: Tensor) -> None:
        output = model(x)
        output.mean().backward(retain_graph=True)
        output.sum().backward()

    assert findings(net(exponential, a=layer()), images(), steps=steps) == []
