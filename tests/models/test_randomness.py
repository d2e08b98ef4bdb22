"""All random generators are seeded, saved and restored together."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy
import pytest
import torch

from fwdtrace.models.randomness import random_state, seed_all


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the other tests the generators as they were."""
    state = random_state()
    yield
    state.restore()


def drawn() -> tuple[float, float, float]:
    return random.random(), float(numpy.random.rand()), float(torch.rand(()))


def test_the_same_seed_gives_the_same_numbers_in_every_generator() -> None:
    seed_all(3)
    first = drawn()
    seed_all(3)
    again = drawn()
    seed_all(4)
    other = drawn()
    assert first == again
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_a_restored_state_gives_the_same_numbers_again() -> None:
    state = random_state()
    first = drawn()
    state.restore()
    assert drawn() == first


def test_a_state_differs_as_soon_as_one_generator_was_used() -> None:
    state = random_state()
    assert state.same_as(random_state())
    for draw in (random.random, numpy.random.rand, lambda: torch.rand(())):
        state.restore()
        draw()
        assert not state.same_as(random_state())
