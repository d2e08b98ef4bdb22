"""What modules hold beside parameters and buffers that torch registers: tensors in lists, tuples and dicts."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdtrace.recorder import held
from fwdtrace.recorder.notes import SeenClass, seen_as
from fwdtrace.trace import Trace
from tests.helpers.flows import Net, recorded, said


class Pair(NamedTuple):
    key: Tensor
    value: Tensor


class Holds(Net):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.masks = [torch.ones(4), torch.ones(4)]
        self.inner.tables = {"cos": torch.ones(4), 3: (torch.ones(4), {"sin": torch.ones(4)})}
        self.inner.cache = [Pair(torch.ones(4), torch.ones(4))]
        self.every_weight = (self.layer.weight, self.layer.bias)
        self.itself: list[Any] = [torch.ones(4)]
        self.itself.append(self.itself)
        self.vocabulary = {str(place): torch.ones(1) if place == 0 else place for place in range(1000)}


def second_operands(trace: Trace) -> list[str]:
    return [said(op.inputs[1]) for op in trace.ops or () if op.name == "*"]


def test_tensors_in_containers_are_named_by_their_place() -> None:
    class Uses(Holds):
        def forward(self, x: Tensor) -> Any:
            inner = self.inner
            y = x * inner.masks[1] * inner.tables["cos"] * inner.tables[3][0] * inner.tables[3][1]["sin"]
            return y * inner.cache[0].value * self.itself[0] * self.vocabulary["0"]

    assert second_operands(recorded(Uses(), torch.ones(2, 4))) == [
        "attribute inner.masks[1]",
        "attribute inner.tables.cos",
        "attribute inner.tables[3][0]",
        "attribute inner.tables[3][1].sin",
        "attribute inner.cache[0].value",
        "attribute itself[0]",
        "?",
    ]


def test_what_torch_registers_is_called_so_though_a_list_holds_it_too() -> None:
    class Uses(Holds):
        def __init__(self) -> None:
            super().__init__()
            self.layer.register_buffer("shift", torch.ones(4))
            self.shift = [self.layer.shift]
            self.__dict__["plain"] = self.layer.shift

        def forward(self, x: Tensor) -> Any:
            return x * self.every_weight[1] * self.shift[0] * self.plain

    assert second_operands(recorded(Uses(), torch.ones(2, 4))) == [
        "parameter layer.bias",
        "buffer layer.shift",
        "buffer layer.shift",
    ]


def test_a_tensor_that_moved_in_its_list_during_forward_is_named_by_where_it_was_learnt() -> None:
    class Moves(Holds):
        def forward(self, x: Tensor) -> Any:
            self.masks = [torch.ones(4), *self.inner.masks]
            self.inner.masks.clear()
            return x * self.masks[1] * self.masks[0]

    assert second_operands(recorded(Moves(), torch.ones(2, 4))) == ["attribute inner.masks[0]", "1.0"]


def test_keys_of_the_users_own_are_not_compared() -> None:
    class Key:
        def __hash__(self) -> int:
            return 0

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

    class Uses(Holds):
        def forward(self, x: Tensor) -> Any:
            return x * self.table[self.key]

        def __init__(self) -> None:
            super().__init__()
            self.key = Key()
            self.table = {self.key: torch.ones(4)}

    assert second_operands(recorded(Uses(), torch.ones(2, 4))) == ["attribute table[Key(…)]"]


def test_what_is_in_a_place_is_found_again_by_its_steps() -> None:
    model = Holds()
    seen = seen_as(model, SeenClass(Holds), lambda _: None)
    places = [place for _, place in held.held_by(seen)]
    assert [place.label() for place in places] == ["every_weight[0]", "every_weight[1]", "itself[0]"]
    assert places[1].content() is model.layer.bias
    model.every_weight = ()  # type: ignore[assignment]
    assert places[1].content() is None


def test_a_parameter_is_named_by_its_place_as_it_was_when_it_was_used() -> None:
    class Ties(Net):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            y = x * self.head.bias
            self.head.bias = self.layer.bias
            return y * self.head.bias

    assert second_operands(recorded(Ties(), torch.ones(2, 4))) == ["parameter head.bias", "parameter layer.bias"]


def test_a_parameter_that_was_replaced_is_still_known_by_the_place_that_it_had() -> None:
    class Replaces(Net):
        def forward(self, x: Tensor) -> Any:
            before = self.layer.bias
            self.layer.bias = nn.Parameter(before + 2.0)
            with torch.no_grad():
                before.add_(1.0)
            return x * before * self.layer.bias

    trace = recorded(Replaces(), torch.ones(2, 4))
    assert second_operands(trace) == ["parameter layer.bias !2", "parameter layer.bias"]


def test_a_parameter_that_nothing_holds_any_more_goes() -> None:
    class Replaces(Net):
        def forward(self, x: Tensor) -> Any:
            reference = weakref.ref(self.layer.bias)
            self.layer.bias = nn.Parameter(torch.zeros(4))
            alive.append(reference() is not None)
            return x * nn.Parameter(torch.ones(4))

    alive: list[bool] = []
    assert second_operands(recorded(Replaces(), torch.ones(2, 4))) == ["?"]
    assert alive == [False]
