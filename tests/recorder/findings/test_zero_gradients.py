"""FT008 on small models whose gradients are exactly zero: in the backward of which op, and why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwdtrace.recorder.torch_internals import SAVED_CAN_BE_READ
from tests.helpers.training import Forward, findings, images, layer, net

pytestmark = pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")


def dead_relu(model: Any, x: Tensor) -> Tensor:
    return model.out(torch.relu(model.a(x) - 100))


def dead_module(model: Any, x: Tensor) -> Tensor:
    return model.out(model.relu(model.a(x) - 100))


def rounds(model: Any, x: Tensor) -> Tensor:
    return model.out(torch.round(model.a(x)))


def takes_signs(model: Any, x: Tensor) -> Tensor:
    return model.out(model.a(x).sign())


def divides_and_floors(model: Any, x: Tensor) -> Tensor:
    return model.out(torch.div(model.a(x), 0.1, rounding_mode="floor"))


def drops_all(model: Any, x: Tensor) -> Tensor:
    return model.out(F.dropout(model.a(x), p=1.0))


def clamps_all(model: Any, x: Tensor) -> Tensor:
    return model.out(model.a(x).clamp(100, 101))


def saturates(model: Any, x: Tensor) -> Tensor:
    return model.out(torch.sigmoid(model.a(x) * 0 + 1e4))


def chooses_of_one(model: Any, x: Tensor) -> Tensor:
    return model.out(torch.softmax(model.a(x)[:, :1], -1).expand(-1, 4))


def sums_shares(model: Any, x: Tensor) -> Tensor:
    return torch.softmax(model.a(x) * 0, -1).sum() + model.out(x).sum()


def normalises_one(model: Any, x: Tensor) -> Tensor:
    return model.out(model.norm(model.a(x)[:, :1]).expand(-1, 4))


def is_gated_by_zeros(model: Any, x: Tensor) -> Tensor:
    return model.out(model.a(x) * model.scale)


def is_masked_out(model: Any, x: Tensor) -> Tensor:
    return model.out(model.a(x) * torch.zeros(3, 1))


def ignores_all_targets(model: Any, x: Tensor) -> Tensor:
    return F.cross_entropy(model.a(x), torch.full((3,), -100), reduction="sum") + model.out(x).sum()


def picks_nothing(model: Any, x: Tensor) -> Tensor:
    return model.out(model.a(x)[x[:, 0] > 100])


def measures_zeros(model: Any, x: Tensor) -> Tensor:
    return (model.a(x) * 0).norm(dim=-1) + 0 * model.out(x).sum()


PARTS = {
    **{"relu": nn.ReLU(), "norm": nn.LayerNorm(1), "scale": nn.Buffer(torch.zeros(4))},
}
ZEROS: list[tuple[Forward, str, str]] = [
    (
        dead_relu,
        "torch.relu in the model",
        "its result is 0 everywhere, as no element of its input is above 0: a dead ReLU",
    ),
    (dead_module, "relu", "its result is 0 everywhere, as no element of its input is above 0: a dead ReLU"),
    (rounds, "torch.round in the model", "its derivative is 0 everywhere"),
    (takes_signs, "Tensor.sign in the model", "its derivative is 0 everywhere"),
    (divides_and_floors, "torch.div in the model", "its derivative is 0 everywhere"),
    (drops_all, "F.dropout in the model", "it dropped everything"),
    (clamps_all, "Tensor.clamp in the model", "its input is beyond its limits everywhere"),
    (saturates, "torch.sigmoid in the model", "its result is saturated everywhere, where its slope is 0"),
    (
        chooses_of_one,
        "torch.softmax in the model",
        "it runs over a single element, so that its result is always 1",
    ),
    (
        sums_shares,
        "torch.softmax in the model",
        "it got one gradient for all elements, as of their sum, which is 1 whatever its input is",
    ),
    (normalises_one, "norm", "it normalises a single value, so its result does not depend on it"),
    (is_gated_by_zeros, "* in the model", "its other operand of 4 is 0 everywhere"),
    (is_masked_out, "* in the model", "its other operand of 3×1 is 0 everywhere"),
    (picks_nothing, "[] in the model", "it gave no element"),
    (ignores_all_targets, "F.cross_entropy in the model", "every target is ignored"),
    (
        measures_zeros,
        "Tensor.norm in the model",
        "the norm is 0 everywhere, where its gradient is taken to be 0",
    ),
]


@pytest.mark.parametrize(("forward", "place", "reason"), ZEROS, ids=[case[0].__name__ for case in ZEROS])
def test_the_step_that_made_the_gradient_zero_is_named_with_the_reason(
    forward: Forward, place: str, reason: str
) -> None:
    model = net(forward, a=layer(), out=layer(), **PARTS)
    code, message, line = next(found for found in findings(model, images()) if found[1].startswith(("a ", "a, ")))
    assert code == "FT008"
    assert message.endswith(f"got a gradient of exactly 0, made in the backward of {place}: {reason}")
    assert line.startswith("return ")


def test_a_layer_with_a_weight_of_zeros_is_named() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        return model.out(model.a(x))

    model = net(forward, a=layer(), out=layer())
    nn.init.zeros_(model.out.weight)  # type: ignore[arg-type, union-attr]
    assert findings(model, images()) == [
        (
            "FT008",
            "a (20 parameters) got a gradient of exactly 0, made in the backward of out: its weight is 0 everywhere",
            "return model.out(model.a(x))",
        )
    ]


def test_blocks_with_the_same_reason_are_one_finding() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = layer(), layer()
            nn.init.zeros_(self.out.weight)

        def forward(self, x: Tensor) -> Any:
            return x + self.out(self.layer(x))

    assert [found[1] for found in findings(nn.Sequential(Block(), Block()), images())] == [
        "0.layer and 1.layer (40 parameters) got a gradient of exactly 0, made in the backward of 0.out and 1.out:"
        " its weight is 0 everywhere"
    ]


def test_a_loss_that_does_not_depend_on_the_model_is_told_apart() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        return model.a(x)

    ((code, message, line),) = findings(net(forward, a=layer()), images(), loss=lambda output: (output * 0).sum())
    assert (code, line) == ("FT008", "")
    assert message == (
        "every parameter (20 parameters) got a gradient of exactly 0, which came to the model like this:"
        " the slope of the loss is 0 there"
    )
