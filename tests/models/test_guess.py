"""Inputs for a model when nobody gave one: what the model says, and what its first layers take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace import record
from fwdtrace.models.guess import declared_inputs, forms_of, guessed_inputs, required_arguments
from fwdtrace.models.spec import Inputs


def test_what_the_model_says_that_it_takes_is_taken() -> None:
    example = torch.zeros(2, 3)
    model: Any = nn.Linear(3, 2)
    assert declared_inputs(model) is None
    model.input_size = (1, 28, 28)
    assert declared_inputs(model) == ("1x1x28x28",)
    model.dummy_inputs = {"input": example}
    assert declared_inputs(model) == Inputs((), {"input": example})
    model.example_input_array = (example, 1)
    assert declared_inputs(model) == Inputs((example, 1), {})
    model.example_input_array = example
    assert declared_inputs(model) == Inputs((example,), {})


def test_what_is_no_example_is_left_alone() -> None:
    class Raises(nn.Linear):
        @property
        def example_input_array(self) -> Tensor:
            raise RuntimeError("not now")

    model: Any = Raises(3, 2)
    model.input_size = 3
    assert declared_inputs(model) is None


@pytest.mark.parametrize(
    ("layer", "first"),
    [
        (nn.Embedding(50, 4), "1x8:int64:0..50"),
        (nn.Linear(7, 2), "1x7"),
        (nn.Conv1d(2, 4, 3), "1x2x64"),
        (nn.Conv2d(1, 4, 3), "1x1x32x32"),
        (nn.Conv3d(3, 4, 3), "1x3x16x16x16"),
        (nn.LSTM(5, 4), "1x8x5"),
        (nn.MultiheadAttention(8, 2), "1x8x8"),
        (nn.LayerNorm((4, 6)), "1x8x4x6"),
        (nn.BatchNorm1d(9), "1x9"),
    ],
)
def test_a_layer_says_what_it_takes(layer: nn.Module, first: str) -> None:
    assert next(iter(forms_of(layer))) == first


def test_a_layer_that_takes_anything_says_nothing() -> None:
    assert list(forms_of(nn.ReLU())) == []


def test_the_layer_that_was_given_an_argument_comes_before_the_one_that_was_made_first() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tokens = nn.Linear(4, 2), nn.Embedding(10, 4)

        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            return self.head(self.tokens(ids)) + mask

    model = Net()
    assert required_arguments(model) == 2
    assert next(guessed_inputs(model)) == ("1x4", "1x4")
    recording = record(model, ops=True)
    with pytest.raises(RuntimeError), recording:
        model(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    assert next(guessed_inputs(model, recording.trace)) == ("1x8:int64:0..10", "1x8:int64:0..10")
