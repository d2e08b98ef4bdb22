"""The random generators that a model may use, of Python, numpy and every device: seed, save and restore all at once."""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_MT19937_BYTES = 624 * 4 + 4
_latest: list[Any] = []
"""What numpy's generator had in memory when its state was taken last, and that state."""


@dataclass(frozen=True)
class RandomState:
    """The states of all generators at one moment.

    `devices` has the module of torch for each kind of accelerator in use, such as `torch.cuda`, and the states of all
    its devices.
    """

    python: Any
    numpy: Any
    cpu: Tensor
    devices: tuple[tuple[Any, tuple[Tensor, ...]], ...]

    def restore(self) -> None:
        """Set every generator back to this state."""
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        for module, states in self.devices:
            if hasattr(module, "set_rng_state_all"):
                module.set_rng_state_all(list(states))
            else:
                module.set_rng_state(states[0])

    def same_as(self, other: RandomState) -> bool:
        """Whether the generators would give the same numbers from both states."""
        one, two = (dict(state.devices) for state in (self, other))
        return (
            self.python == other.python
            and _plain(self.numpy) == _plain(other.numpy)
            and torch.equal(self.cpu, other.cpu)
            and one.keys() == two.keys()
            and all(len(one[module]) == len(two[module]) for module in one)
            and all(torch.equal(a, b) for module in one for a, b in zip(one[module], two[module], strict=True))
        )


def random_state(accelerators: Iterable[Any] | None = None) -> RandomState:
    """The state of every generator now; numpy's only if it has been imported.

    `accelerators` are modules of torch; without, those of the kinds that this process has begun to use.
    """
    numpy = _numpy_state(sys.modules["numpy"].random) if "numpy" in sys.modules else None
    modules = accelerators_in_use() if accelerators is None else accelerators
    devices = tuple((module, _states(module)) for module in modules)
    return RandomState(random.getstate(), numpy, torch.get_rng_state(), devices)


def accelerators_in_use() -> list[Any]:
    """The modules of torch for the accelerators that this process has begun to use.

    To ask whether a device is available would begin to use it; torch does not say of MPS whether it has begun.
    """
    begun = [module for module in (torch.cuda, torch.xpu) if module.is_initialized()]
    return [*begun, *([torch.mps] if torch.backends.mps.is_available() else [])]


def seed_all(seed: int) -> None:
    """Seed every generator; `seed` is from 0 up to, not including, 2**32."""
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


def _numpy_state(random: Any) -> Any:
    """The state of numpy's generator; the latest one again, which takes a hundredth of the time, if nothing was drawn.

    What is drawn moves the generator on, except for a normal number that was made beside the one before.
    """
    generator: Any = random.get_bit_generator() if hasattr(random, "get_bit_generator") else None
    if type(generator).__name__ != "MT19937":
        return random.get_state()
    now = ctypes.string_at(generator.ctypes.state_address, _MT19937_BYTES)
    if _latest and _latest[0] == now and not _latest[1][3]:
        return _latest[1]
    _latest[:] = now, random.get_state()
    return _latest[1]


def _states(module: Any) -> tuple[Tensor, ...]:
    """One for each device of the kind; MPS is one device."""
    return tuple(module.get_rng_state_all()) if hasattr(module, "get_rng_state_all") else (module.get_rng_state(),)


def _plain(state: Any) -> Any:
    return None if state is None else (state[0], state[1].tolist(), *state[2:])
