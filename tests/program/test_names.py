"""By which variable a program calls its model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from sys import _getframe
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from fwdtrace.program.names import name_of_called

NAMES: list[str | None] = []


class Net(nn.Module):
    """Notes what it is called by."""

    def forward(self, x: int) -> int:
        NAMES.append(name_of_called(self, self, _getframe(1)))
        return x


@contextmanager
def main_has(monkeypatch: pytest.MonkeyPatch, **names: Any) -> Iterator[None]:
    for name, value in names.items():
        monkeypatch.setattr(sys.modules["__main__"], name, value, raising=False)
    yield


def test_a_variable_of_the_main_program_names_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Net()
    with main_has(monkeypatch, _private=held, generator=held):
        assert name_of_called(held, held, None) == "generator"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects do not tell columns")
def test_else_the_line_that_calls_it_does() -> None:
    NAMES.clear()
    critic = Net()
    trainer = SimpleNamespace(q_network=critic)
    self = critic
    nets = [critic]
    critic(trainer.q_network(
        self(
            nets[0](1)
        )
    ))  # fmt: skip
    assert NAMES == [None, None, "q_network", "critic"]


def test_a_part_of_a_model_does_not_name_it() -> None:
    part = Net()
    assert name_of_called(nn.Sequential(part), part, _getframe(0)) is None
