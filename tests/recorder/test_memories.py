"""The tensors in one memory are found without looking at all that are known, which would make each write cost more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fwdtrace.recorder import memories
from tests.helpers.flows import Net, flow, recorded


class Writes(Net):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Any:
        x = self.layer(x).clone()
        kept = []
        for _ in range(self.times):
            x[0].add_(1)
            kept.append(x + 1)
        return x, kept[0]


def test_a_write_through_a_view_looks_at_no_more_tensors_where_more_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []  # and not the tensors, which would live on
    memory_of = memories.memory_of

    def look(tensor: Tensor) -> int:
        looks.append(id(tensor))
        return memory_of(tensor)

    monkeypatch.setattr(memories, "memory_of", look)

    def looks_for(times: int) -> int:
        looks.clear()
        with torch.inference_mode():
            recorded(Writes(times), torch.ones(2, 4))
        return len(looks)

    few = looks_for(20)
    assert 0 < looks_for(40) < 2.5 * few


def test_what_a_call_gives_is_found_though_it_had_not_ended_when_others_were_looked_for() -> None:
    class Inner(Net):
        def forward(self, x: Tensor) -> Any:
            x[0].add_(1)
            return self.layer(x)

    class Outer(Net):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Tensor) -> Any:
            y = self.inner(x.clone())
            y[0].mul_(2)
            return y + 1

    with torch.inference_mode():
        said = flow(recorded(Outer(), torch.ones(2, 4)))
    assert said[-3:] == ["6 [](5.0) -> 6.0", "7 Tensor.mul_(6.0) -> 6.0 !7", "8 +(5.0 !7) -> 8.0"]
