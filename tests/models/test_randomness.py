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


class Kind:
    """A module of torch for devices with generators of their own, which draw by counting."""

    def __init__(self, devices: int) -> None:
        self.drawn = torch.zeros(devices)

    def get_rng_state_all(self) -> list[torch.Tensor]:
        return [state.clone() for state in self.drawn]

    def set_rng_state_all(self, states: list[torch.Tensor]) -> None:
        self.drawn = torch.stack(states)


class KindOfOneDevice:
    """One as `torch.mps` is, which has a single device."""

    def __init__(self) -> None:
        self.drawn = torch.zeros(1)

    def get_rng_state(self) -> torch.Tensor:
        return self.drawn.clone()

    def set_rng_state(self, state: torch.Tensor) -> None:
        self.drawn = state.clone()


def test_the_generators_of_every_device_are_kept_and_restored() -> None:
    many, one = Kind(3), KindOfOneDevice()
    state = random_state([many, one])
    many.drawn[2] += 1
    assert not state.same_as(random_state([many, one]))
    state.restore()
    assert state.same_as(random_state([many, one]))
    one.drawn += 1
    assert not state.same_as(random_state([many, one]))
    state.restore()
    assert many.drawn.tolist() == [0, 0, 0] and one.drawn.tolist() == [0]
    assert state.same_as(random_state([many, one]))


def test_other_devices_are_another_state() -> None:
    many = Kind(3)
    state = random_state([many])
    assert not state.same_as(random_state([]))
    assert not state.same_as(random_state([KindOfOneDevice()]))
    many.drawn = torch.zeros(2)
    assert not state.same_as(random_state([many]))


def test_a_state_of_numpy_is_that_of_now_however_the_last_number_was_drawn() -> None:
    for draw in (lambda: None, numpy.random.randn, numpy.random.randn, numpy.random.rand, lambda: numpy.random.seed(3)):
        random_state()
        draw()
        state = random_state()
        drawn = numpy.random.randn(3).tolist()
        state.restore()
        assert numpy.random.randn(3).tolist() == drawn
        state.restore()
