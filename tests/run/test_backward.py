"""Running backward from the output of a model: what it begins at, and what is said where that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.run.backward import run_backward

X = torch.ones(2, 4)


class Gives(nn.Module):
    """A layer whose result is wrapped by the function that the model was made with."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.wraps = (wrap,)

    def forward(self, x: Tensor) -> Any:
        return self.wraps[0](self.layer(x))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: {"a": [x], "n": 3, "ids": torch.tensor([1])},
        lambda x: (x.detach(), x),
        lambda x: torch.complex(x, x),
        lambda x: x.half(),
        lambda x: [x, x.double()],
    ],
)
def test_the_loss_is_the_sum_of_every_tensor_that_can_have_a_gradient(wrap: Any) -> None:
    model = Gives(wrap)
    run_backward(model, model(X))
    assert model.layer.weight.grad is not None and model.layer.weight.grad.abs().sum() > 0


def test_a_loss_of_the_users_takes_the_output() -> None:
    model = nn.Linear(4, 1, bias=False)
    run_backward(model, model(X), lambda output: 3 * output.sum())
    assert model.weight.grad is not None and model.weight.grad.tolist() == [[6.0] * 4]


def test_what_the_loss_raises_is_passed_on() -> None:
    def broken(output: Tensor) -> Tensor:
        raise KeyError("targets")

    with pytest.raises(KeyError, match="targets"):
        run_backward(nn.Linear(4, 1), X, broken)


@pytest.mark.parametrize(
    ("output", "loss", "message"),
    [
        (
            torch.tensor([1]),
            None,
            "no floating-point tensor is in the output of Linear; name a loss of your own",
        ),
        (
            X,
            None,
            "the output of Linear does not require a gradient; all its parameters may be frozen, or it ran under"
            " no_grad or was detached",
        ),
        (
            X,
            lambda output: output,
            "the loss gave a tensor of shape (2, 4) for the output of Linear; backward takes a tensor with one element",
        ),
        (
            X,
            lambda output: 1.0,
            "the loss gave float for the output of Linear; backward takes a tensor with one element",
        ),
        (
            X,
            lambda output: output.sum(),
            "the loss of Linear does not require a gradient; all its parameters may be frozen, or it ran under"
            " no_grad or was detached",
        ),
    ],
)
def test_what_cannot_be_run_backward_is_said_with_what_to_do(output: Tensor, loss: Any, message: str) -> None:
    with pytest.raises(FwdtraceError) as raised:
        run_backward(nn.Linear(4, 4), output, loss)
    assert str(raised.value) == message
