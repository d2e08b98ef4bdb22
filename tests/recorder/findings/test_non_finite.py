"""FT005 on small models that make NaN or infinities in forward: which op, which line, and why."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwdtrace.recorder.torch_internals import SAVED_CAN_BE_READ
from tests.helpers.training import Forward, findings, images, layer, net


def logs(model: Any, x: Tensor) -> Tensor:
    return torch.log(torch.relu(model.a(x)))


def logs_negatives(model: Any, x: Tensor) -> Tensor:
    return torch.log(torch.log_softmax(model.a(x), -1))


def roots(model: Any, x: Tensor) -> Tensor:
    return model.a(x) ** 0.5


def arcs(model: Any, x: Tensor) -> Tensor:
    return torch.acos(x * 2) + model.a(x)


def deviates_of_one(model: Any, x: Tensor) -> Tensor:
    return model.a(x[:1] / x[:1].std(0))


def divides_by_no_deviation(model: Any, x: Tensor) -> Tensor:
    same = x * 0 + 3
    return model.a((same - same.mean(0)) / same.std(0))


def averages_nothing(model: Any, x: Tensor) -> Tensor:
    return model.a(x)[x[:, 0] > 100].mean()


def ignores_every_target(model: Any, x: Tensor) -> Tensor:
    return F.cross_entropy(model.a(x), torch.full((3,), -100))


def explodes(model: Any, x: Tensor) -> Tensor:
    return torch.exp(model.a(x).abs() * 1e4)


def casts(model: Any, x: Tensor) -> Tensor:
    return (x * 1e6).half().abs().clamp(min=1).float() + model.a(x)


def masks_a_row(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[1] = True
    scores = (h @ h.T).masked_fill(mask, -math.inf)
    return torch.softmax(scores, -1) @ h


FORWARDS: list[tuple[Forward, str, str]] = [
    (logs, "torch.log in the model made 8 infinite of 12 elements out of finite inputs: its input is 0 there", ""),
    (
        logs_negatives,
        "torch.log in the model made 12 NaN of 12 elements out of finite inputs: its input is below 0 there, down to ",
        "",
    ),
    (roots, "** in the model made 8 NaN of 12 elements out of finite inputs: its input is below 0 there, down to ", ""),
    (
        arcs,
        "torch.acos in the model made 7 NaN of 12 elements out of finite inputs:"
        " its input is below -1 there, down to -4",
        "return torch.acos(x * 2) + model.a(x)",
    ),
    (
        deviates_of_one,
        "Tensor.std in the model made 4 NaN of 4 elements out of finite inputs:"
        " it is over a single value, which has no deviation (correction=1 divides by 0)",
        "return model.a(x[:1] / x[:1].std(0))",
    ),
    (
        divides_by_no_deviation,
        "/ in the model made 12 NaN of 12 elements out of finite inputs: its divisor is 0 there",
        "return model.a((same - same.mean(0)) / same.std(0))",
    ),
    (
        averages_nothing,
        "Tensor.mean in the model made 1 NaN of 1 element out of finite inputs: it is over no element",
        "return model.a(x)[x[:, 0] > 100].mean()",
    ),
    (
        ignores_every_target,
        "F.cross_entropy in the model made 1 NaN of 1 element out of finite inputs:"
        " every target is -100, which is ignored, so it is a mean of nothing",
        "return F.cross_entropy(model.a(x), torch.full((3,), -100))",
    ),
    (
        explodes,
        "torch.exp in the model made 12 infinite of 12 elements out of finite inputs: float32 ends at 3.4e38",
        "",
    ),
    (
        casts,
        "Tensor.half in the model made 12 infinite of 12 elements out of finite inputs:"
        " float16 ends at 65,504; its inputs go up to 2e+06",
        "return (x * 1e6).half().abs().clamp(min=1).float() + model.a(x)",
    ),
    (
        masks_a_row,
        "torch.softmax in the model made 3 NaN of 9 elements out of the infinite values of Tensor.masked_fill in the"
        " model (scores = (h @ h.T).masked_fill(mask, -math.inf)): its input is -inf from end to end in row 1,"
        " as where a mask hides every key",
        "return torch.softmax(scores, -1) @ h",
    ),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("forward", "message", "line"), FORWARDS, ids=[case[0].__name__ for case in FORWARDS])
def test_the_op_that_made_it_is_named_with_the_reason(forward: Forward, message: str, line: str) -> None:
    found = findings(net(forward, a=layer()), images(), check_finite=True)
    assert [case[0] for case in found].count("FT005") == 1
    assert found[0][1].startswith(message) and found[0][1].endswith(message if line else "")
    assert found[0][2] == line or not line


def attends(model: Any, x: Tensor, **masks: Tensor) -> Any:
    h = model.a(x)[None].expand(2, -1, -1)
    return model.attention(h, h, h, **masks)[0]


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        (
            {"key_padding_mask": torch.tensor([[False, True, True], [True, True, True]])},
            "key_padding_mask hides every key of example 1",
        ),
        (
            {"key_padding_mask": torch.full((2, 3), -math.inf)},
            "key_padding_mask hides every key of examples 0 and 1",
        ),
        (
            {"attn_mask": torch.tensor([[False] * 3, [True] * 3, [True, False, True]])},
            "attn_mask hides every key in row 1",
        ),
    ],
    ids=["boolean padding", "float padding", "attention"],
)
def test_a_mask_that_hides_every_key_from_attention_is_named(masks: dict[str, Tensor], reason: str) -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return attends(model, x, **masks)

    model = net(forward, a=layer(), attention=nn.MultiheadAttention(4, 2, batch_first=True))
    found = findings(model, images(), check_finite=True)
    assert found[0][0] == "FT005" and found[0][1].endswith(f": {reason}")


def test_an_attention_mask_given_as_an_argument_is_seen_through() -> None:
    def forward(model: Any, x: Tensor, mask: Tensor) -> Any:
        h = model.a(x)
        return F.softmax(h @ h.T + mask, dim=-1) @ h

    mask = torch.zeros(3, 3)
    mask[2] = -math.inf
    found = findings(net(forward, a=layer()), images(), mask, check_finite=True)
    assert found[0] == (
        "FT005",
        "F.softmax in the model made 3 NaN of 9 elements out of infinite values:"
        " its input is -inf from end to end in row 2, as where a mask hides every key",
        "return F.softmax(h @ h.T + mask, dim=-1) @ h",
    )


def test_gradients_that_forward_has_spoiled_are_put_down_to_it() -> None:
    found = findings(net(roots, a=layer()), images(), check_finite=True)
    assert [case[:2] for case in found[1:]] == [
        (
            "FT008",
            "every parameter (20 parameters) got NaN or infinite gradients, as what the model gave was not finite",
        )
    ]


@pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")
def test_without_a_look_at_forward_backward_says_that_forward_was_not_finite_already() -> None:
    found = findings(net(divides_by_no_deviation, a=layer()), images())
    assert found[0] == (
        "FT005",
        "the backward of a (Linear) made 16 NaN of 16 elements out of a finite gradient:"
        " its input was not finite in forward already, which --check-finite looks for",
        "return model.a((same - same.mean(0)) / same.std(0))",
    )


def test_masked_numbers_that_the_model_gives_are_meant() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return model.a(x).masked_fill(x > 0, -math.inf)

    assert "FT005" not in [case[0] for case in findings(net(forward, a=layer()), images(), check_finite=True)]


def test_an_overflow_of_float16_is_told_though_no_call_gave_it() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        h = model.a(x).half()
        energy = (h * 1000).pow(2)
        return h / energy

    found = findings(net(forward, a=layer()), images(), check_finite=True)
    assert found[0][0] == "FT005" and found[0][2] == "energy = (h * 1000).pow(2)"
    assert found[0][1].startswith("Tensor.pow in the model made ") and "float16 ends at 65,504" in found[0][1]
