"""The index that an embedding has no row for is looked up when it has raised, with its place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwdtrace import record
from fwdtrace.recorder.outside import with_index_outside
from fwdtrace.trace import CallError, Value


class ByFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.act = nn.Parameter(torch.zeros(5, 2)), nn.ReLU()

    def forward(self, ids: Tensor) -> Tensor:
        return self.act(F.embedding(ids, self.table))


def error_of(model: nn.Module, *args: object) -> CallError:
    """The error of the innermost call or op."""
    recording = record(model, ops=True)
    with pytest.raises((IndexError, RuntimeError, NotImplementedError)), recording:
        model(*args)
    found = [event.error for event in recording.trace.events if event.error is not None]
    return found[-1]


@pytest.mark.parametrize(
    ("ids", "outside"),
    [
        ([[1, 7, 2], [9, 0, 9]], Value("input[1, 0]", "9")),
        ([[1, -100, 2], [4, 0, -1]], Value("input[0, 1]", "-100")),
    ],
)
def test_the_index_furthest_outside_is_named_with_its_first_place(ids: list[list[int]], outside: Value) -> None:
    assert error_of(nn.Embedding(5, 2), torch.tensor(ids)).outside == outside
    assert error_of(ByFunction(), torch.tensor(ids)).outside == outside


def test_a_target_without_a_class_is_named_with_its_place() -> None:
    class Compares(nn.Module):
        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(x, labels)

    error = error_of(Compares(), torch.zeros(3, 4), torch.tensor([1, 0, 4]))
    assert error.outside == Value("target[2]", "4")
    assert error_of(nn.CrossEntropyLoss(), torch.zeros(3, 4), torch.tensor([1, 9, 3])).outside == Value(
        "target[1]", "9"
    )


def test_an_index_error_of_something_else_names_none() -> None:
    class Picks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[7]

    assert error_of(Picks(), torch.zeros(3, 2)).outside is None


def test_indices_without_values_name_none() -> None:
    found = CallError("IndexError", "out of range")
    tensors = torch.zeros(2, dtype=torch.int64, device="meta"), torch.zeros(5, 2)
    assert with_index_outside(found, IndexError(), tensors, None) == found
