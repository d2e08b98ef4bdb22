"""What is given is built like what the same place was given before, or it is not; nothing else may be said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.recorder.flow import DataFlow
from fwdtrace.recorder.leaves import LeafTable
from fwdtrace.recorder.lines import Given
from fwdtrace.recorder.notes import Known, entries_of
from fwdtrace.recorder.session import Session

X, Y, WIDE = torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 4)


class Cache:
    """An object with tensors in it."""

    def __init__(self, keys: Any, values: Any) -> None:
        self.keys, self.values = keys, values
        self.length = 3


class Compared:
    """Arguments that were given, and others that are compared with them."""

    def __init__(self, *values: Any, **kwargs: Any) -> None:
        self.session = Session()
        self.known = self.session.leaves.known
        self.flow = DataFlow(self.session)
        for _ in range(2):  # an object is known once it was found to be built as before
            found: list[Any] = []
            leaves = self.session.leaves.read_inputs(values, kwargs, found)
        self.given = Given(values, kwargs, leaves, entries_of(self.flow.takes(found)), self.session.leaves)

    def tensors(self, *values: Any, **kwargs: Any) -> list[Tensor] | None:
        """The tensors in other arguments if they are built like those given; else None."""
        described = self.given.compare(values, kwargs, self.given, self.session.leaves)
        return None if described is None else [entry() for entry in entries_of(described[1])]

    def meet(self, tensor: Tensor) -> None:
        """Have a tensor known, as that which an op has made is."""
        self.flow.takes([tensor])


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ((X, 1), (X, 2)),
        ((X, 1), (X, True)),
        ((X, 0.5), (X, 0.25)),
        ((X, 0.0), (X, -0.0)),
        ((X, None), (X, ...)),
        ((X, "sum"), (X, "mean")),
        ((X, (1, 2)), (X, [1, 2])),
        ((X, (1, 2)), (X, (1, 2, 3))),
        ((X, (1, 2)), (X, torch.Size((1, 2)))),
        ((X, (..., slice(None, 2))), (X, (..., slice(None, 3)))),
        ((X, slice(0, 2)), (X, slice(0, X))),
        ((X, 1), (1, X)),
        ((X,), (X, X)),
        ((X, torch.float32), (X, torch.float64)),
    ],
)
def test_arguments_that_are_described_otherwise_are_not_like_those_before(given: Any, other: Any) -> None:
    compared = Compared(*given)
    for tensor in (X, Y, WIDE):
        compared.meet(tensor)
    assert compared.tensors(*given) is not None
    assert compared.tensors(*other) is None


def test_the_tensors_of_arguments_that_are_like_those_before_are_found_in_their_order() -> None:
    compared = Compared((X, [Y, X]), 1000, slice(None, 700), "sum", X)
    compared.meet(WIDE)
    other = (Y, [X, X]), int("1000"), slice(None, int("700")), "".join(("su", "m")), Y
    found = compared.tensors(*other)
    assert found is not None and [id(each) for each in found] == [id(each) for each in (Y, X, X, Y)]


def test_names_of_arguments_belong_to_what_is_compared() -> None:
    compared = Compared(X, other=X, alpha=2)
    assert compared.tensors(X, other=X, alpha=2) is not None
    for other in ({"other": X}, {"alpha": 2, "other": X}, {"other": X, "beta": 2}, {"other": X, "alpha": 3}, {}):
        assert compared.tensors(X, **other) is None
    assert compared.tensors(X, X, 2) is None
    assert Compared(X).tensors(X, other=X) is None


def test_arguments_that_are_built_alike_are_described_anew_where_their_tensors_are_like_others() -> None:
    cache = Cache(X, Y)
    compared = Compared([X, Y], cache, 2, scale=X)
    others = [WIDE, X], Cache(Y, WIDE), 2
    for tensor in (X, Y, WIDE):
        compared.meet(tensor)
    assert compared.tensors(*others, scale=WIDE) is not None
    assert compared.given.described[1] == LeafTable().of_inputs(others, {"scale": WIDE})
    assert compared.tensors([X, Y], cache, 2, scale=X) is not None
    assert compared.given.described[1] == LeafTable().of_inputs(([X, Y], cache, 2), {"scale": X})


def test_an_object_that_is_built_otherwise_or_is_of_another_class_is_not_like_the_one_before() -> None:
    compared = Compared(X, Cache(X, Y))
    assert compared.tensors(X, Cache(X, Y)) is not None
    assert compared.tensors(X, Cache(X, None)) is None
    assert compared.tensors(X, type("Cache", (Cache,), {})(X, Y)) is None
    assert compared.tensors(X, Cache(X, torch.ones(2, 3))) is None  # which was not met


def changes() -> list[Callable[[Tensor], Any]]:
    def takes_other_data(tensor: Tensor) -> None:
        tensor.data = torch.ones(5)

    return [
        lambda tensor: tensor.add_(1),
        lambda tensor: tensor.requires_grad_(),
        lambda tensor: tensor.view(-1).zero_(),
        takes_other_data,
    ]


@pytest.mark.parametrize("change", changes())
def test_a_tensor_that_has_changed_since_it_was_met_is_not_like_itself_before(change: Callable[[Tensor], Any]) -> None:
    tensor = torch.ones(2, 3)
    compared = Compared(tensor, tensor)
    assert compared.tensors(tensor, tensor) is not None
    change(tensor)
    assert compared.tensors(tensor, tensor) is None


def test_a_tensor_that_was_not_met_is_not_like_one_that_was() -> None:
    assert Compared(X).tensors(torch.ones(2, 3)) is None


def test_a_tensor_with_the_identity_of_one_that_is_gone_is_not_taken_for_it() -> None:
    compared = Compared(X)
    entry = compared.known[id(X)]
    gone = Known(nn.Module())
    gone.like, gone.version = entry.like, entry.version
    compared.known[id(X)] = gone
    assert compared.tensors(X) is None


@pytest.mark.parametrize("value", [{"a": X}, len, 1j, slice(X, None), [[[[[1]]]]], list(range(17)), X.to_sparse()])
def test_what_has_more_in_it_than_can_be_compared_is_never_like_anything(value: Any) -> None:
    compared = Compared(X, value)
    assert compared.tensors(X, value) is None
