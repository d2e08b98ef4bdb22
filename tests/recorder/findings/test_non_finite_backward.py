"""FT005 on small models whose backward makes NaN or infinities: which op, which line, and why."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fwdtrace.recorder.torch_internals import SAVED_CAN_BE_READ, torch_function_modes
from tests.helpers.training import Forward, findings, images, layer, net

pytestmark = pytest.mark.skipif(not SAVED_CAN_BE_READ, reason="this torch does not show what backward saved")


def sqrt_of_what_where_leaves_out(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    return torch.where(h > 0, torch.sqrt(h), h)


def divides_what_where_leaves_out(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    ratio = h / torch.relu(x)
    return torch.where(x > 0, ratio, h)


def root_of_a_zero_distance(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    square = (h - h).pow(2).sum(-1)
    return square.sqrt()


def power_of_zero(model: Any, x: Tensor) -> Tensor:
    h = model.a(x) * 0
    return h**0.5


def arc_of_one(model: Any, x: Tensor) -> Tensor:
    cosine = torch.tanh(model.a(x) * 1e4)
    return torch.acos(cosine)


def entropy_of_a_certain_choice(model: Any, x: Tensor) -> Tensor:
    p = torch.softmax(model.a(x) * 1e4, -1)
    return p * p.log()


ZERO = "the gradient that came to it there is 0, and 0 times infinity or NaN is NaN"
BACKWARDS: list[tuple[Forward, str, str, str]] = [
    (
        sqrt_of_what_where_leaves_out,
        "torch.sqrt",
        "its result is NaN there, as its input is below 0; torch.where (return torch.where(h > 0, torch.sqrt(h), h))"
        f" took none of these elements, but {ZERO}",
        "return torch.where(h > 0, torch.sqrt(h), h)",
    ),
    (
        divides_what_where_leaves_out,
        "/",
        "its divisor is 0 there; torch.where (return torch.where(x > 0, ratio, h))"
        f" took none of these elements, but {ZERO}",
        "ratio = h / torch.relu(x)",
    ),
    (
        root_of_a_zero_distance,
        "Tensor.sqrt",
        "its input is 0 there, where the slope of a square root is infinite",
        "return square.sqrt()",
    ),
    (
        power_of_zero,
        "**",
        "its base is 0 there, where the slope of a power below 1 is infinite",
        "return h**0.5",
    ),
    (
        arc_of_one,
        "torch.acos",
        "its input is 1 or -1 there, where its slope is infinite",
        "return torch.acos(cosine)",
    ),
    (entropy_of_a_certain_choice, "Tensor.log", f"its input is 0 there; {ZERO}", "return p * p.log()"),
]


@pytest.mark.parametrize(("forward", "op", "reason", "line"), BACKWARDS, ids=[case[0].__name__ for case in BACKWARDS])
def test_the_step_of_backward_that_made_it_is_named_with_the_reason(
    forward: Forward, op: str, reason: str, line: str
) -> None:
    made, spoiled = findings(net(forward, a=layer()), images())
    assert (made[0], made[2]) == ("FT005", line)
    assert made[1].startswith(f"the backward of {op} in the model made ")
    assert made[1].endswith(f" elements out of a finite gradient: {reason}")
    assert spoiled == (
        "FT008",
        f"every parameter (20 parameters) got NaN or infinite gradients, made in the backward of {op} in the model",
        line,
    )


def test_a_gradient_beyond_the_end_of_float16_is_told_with_its_size() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return model.a(x)

    found = findings(net(forward, a=layer().half()), images().half() * 100, loss=lambda output: (output * 1000).sum())
    assert found[0] == (
        "FT005",
        "the backward of a (Linear) made 12 infinite of 16 elements out of a finite gradient:"
        " float16 ends at 65,504, and the gradient that came to it goes up to 1,000",
        "return model.a(x)",
    )


def test_a_gradient_that_is_nan_when_it_comes_to_the_model_is_told_apart() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return model.a(x)

    found = findings(net(forward, a=layer()), images(), loss=lambda output: (output - output).sqrt().sum())
    assert found == [
        (
            "FT008",
            "every parameter (20 parameters) got NaN or infinite gradients,"
            " which came to the model like this: from the loss",
            "",
        )
    ]


def test_a_finite_backward_is_no_finding() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        h = model.a(x)
        return torch.sqrt(torch.where(h > 0, h, torch.ones_like(h)))

    assert findings(net(forward, a=layer()), images()) == []


class Rooted(nn.Module):
    """A layer, and a root of what may be below 0, left out by `torch.where`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = layer()

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return torch.where(h > 0, torch.sqrt(h), h)


@pytest.mark.parametrize("reentrant", [False, True])
def test_within_a_checkpoint_the_op_is_named_and_not_the_checkpoint(reentrant: bool) -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return model.out(checkpoint(model.inner, model.a(x), use_reentrant=reentrant))

    found = findings(net(forward, a=layer(), inner=Rooted(), out=layer()), images())
    assert [case[0] for case in found] == ["FT005", "FT008"]
    assert found[0][1].startswith("the backward of torch.sqrt in inner made ")
    assert found[1][1] == (
        "a and inner (40 parameters) got NaN or infinite gradients, made in the backward of torch.sqrt in inner"
    )


def test_what_backward_runs_unseen_in_a_checkpoint_is_not_put_down_to_the_loss() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        def inner(h: Tensor) -> Any:
            return torch.sqrt(model.b(h).abs() * 0)

        return model.out(checkpoint(inner, model.a(x), use_reentrant=True))

    found = findings(net(forward, a=layer(), b=layer(), out=layer()), images())
    reasons = {case[1].partition(" (")[0]: case[1].partition(" got ")[2] for case in found if case[0] == "FT008"}
    assert reasons["b"] == "NaN or infinite gradients"
    assert reasons["a"] == ("NaN or infinite gradients, made in the backward of CheckpointFunction in the model")


class Divides(torch.autograd.Function):
    """Has a backward of its own, in which numbers go wrong twice, and once it matters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, divisor: Tensor) -> Tensor:
        """Without the numbers that it divides by."""
        ctx.save_for_backward(divisor)
        return x / divisor

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """With a slope that is infinite where the divisor is 1."""
        (divisor,) = ctx.saved_tensors
        scale = torch.where(divisor == 1, divisor, divisor.log() / (divisor - divisor))
        slope = scale / (divisor - 1)
        return gradient * slope, None


def test_the_line_in_a_backward_of_the_users_own_is_named() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        return Divides.apply(model.a(x), torch.ones_like(x))  # type: ignore[no-any-return,no-untyped-call]

    made, spoiled = findings(net(forward, a=layer()), images())
    function = "Divides.backward" if sys.version_info >= (3, 11) else "backward"
    assert made == (
        "FT005",
        "the backward of Divides in the model made 12 infinite of 12 elements out of a finite gradient:"
        f" / made them in {function}",
        "slope = scale / (divisor - 1)",
    )
    assert spoiled[0] == "FT008"


def test_a_backward_of_the_users_own_that_raises_leaves_nothing_behind() -> None:
    class Raises(Divides):
        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Any:
            raise ValueError("no")

    model = net(lambda model, x: Raises.apply(model.a(x), x), a=layer())  # type: ignore[no-untyped-call]
    assert [code for code, _, _ in findings(model, images())] == ["FT011"]
    assert torch_function_modes() == 0
