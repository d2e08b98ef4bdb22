"""A backward that ended a program is explained by a call like one that was kept; its arguments are made anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.program.backward_again import explained_backward
from fwdtrace.trace import Trace

X = torch.ones(2, 4)


class Gate(nn.Module):
    """Writes into what the backward of tanh needs, and counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, *rest: Any, **options: Any) -> Any:
        self.calls += 1
        gate = torch.tanh(self.fc(x))
        gate.mul_(2)
        return gate


class Reads(Gate):
    """Takes its tensor out of a dictionary in a list, a table of rows, a flag, and what it only gets by name."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(3, 4)

    def forward(self, batch: Any, ids: Any = None, flag: bool = True, *, scale: Any = None) -> Any:  # type: ignore[override]
        assert flag is False and scale == 2.0 and ids.dtype == torch.int64
        return {"out": super().forward(batch[1]["x"] + self.rows(ids)), "number": 3}


class Innocent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return self.fc(x)


def kept_and_error(model: nn.Module, *args: Any, after: Callable[[Any], Tensor], **kwargs: Any) -> tuple[Trace, Any]:
    """The trace of a first call, and what the backward of a second one raises."""
    with fwdtrace.record(model, ops=True) as recording:
        model(*args, **kwargs)
    with pytest.raises(Exception) as raised:
        after(model(*args, **kwargs)).backward()  # type: ignore[no-untyped-call]
    return recording.trace, raised.value


WROTE = (
    "Tensor.mul_ in the model wrote into the output of torch.tanh in the model (line {}), which the backward of"
    " torch.tanh needs as it was"
)
LINE = Gate.forward.__code__.co_firstlineno + 2


@pytest.mark.parametrize(
    ("model", "args", "kwargs"),
    [
        (Gate(), (X,), {}),
        (Gate(), (X, X, (1, X)), {"more": {"a": X}}),
        (Gate(), (X.clone().requires_grad_(),), {}),
        (Reads(), ([None, {"x": X}], torch.tensor([2, 0]), False), {"scale": 2.0}),
    ],
    ids=["one", "any-number", "with-gradient", "nested"],
)
def test_the_op_that_wrote_is_named_with_its_line(model: Any, args: Any, kwargs: Any) -> None:
    trace, error = kept_and_error(
        model, *args, after=lambda y: (y["out"] if isinstance(y, dict) else y).mean(), **kwargs
    )
    found = explained_backward(error, [(trace, model)])
    assert found is not None
    ((message, site),) = [(each.message, each.site) for each in found.findings if each.code == "FT011"]
    assert message == WROTE.format(LINE)
    assert site is not None and site.code == "gate.mul_(2)"
    assert (found.run.event, found.run.replay, found.run.call) == ("error", "inexact", None)


def test_the_model_and_the_random_numbers_stay_as_they_are() -> None:
    model = Gate()
    trace, error = kept_and_error(model, X, after=Tensor.sum)
    state, numbers = {name: each.clone() for name, each in model.state_dict().items()}, torch.get_rng_state()
    assert explained_backward(error, [(trace, model)]) is not None
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
    assert torch.equal(numbers, torch.get_rng_state())
    assert model.fc.weight.grad is None


def test_a_model_whose_backward_does_not_raise_this_is_not_blamed() -> None:
    guilty, innocent = Gate(), Innocent()

    def write(y: Tensor) -> Tensor:
        out = torch.sigmoid(y)
        out += 1
        return out.sum()

    trace, error = kept_and_error(innocent, X, after=write)
    assert explained_backward(error, [(trace, innocent)]) is None
    other, _ = kept_and_error(guilty, X, after=Tensor.sum)
    assert explained_backward(error, [(trace, innocent), (other, guilty)]) is None


def test_a_graph_that_is_used_twice_is_not_explained_by_one_call() -> None:
    model = Innocent()

    def twice(y: Tensor) -> Tensor:
        loss = y.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    trace, error = kept_and_error(model, X, after=twice)
    assert explained_backward(error, [(trace, model)]) is None


def test_arguments_that_are_objects_are_not_made() -> None:
    model = Gate()
    trace, error = kept_and_error(model, X, object(), after=Tensor.sum)
    assert explained_backward(error, [(trace, model)]) is None


def test_a_call_without_gradients_is_no_example() -> None:
    model = Gate()
    with torch.no_grad(), fwdtrace.record(model, ops=True) as recording:
        model(X)
    _, error = kept_and_error(model, X, after=Tensor.sum)
    assert explained_backward(error, [(recording.trace, model)]) is None
