"""The random generators that a model may use, of Python, numpy and every device: seed, save and restore all at once."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
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


def _states(module: Any) -> tuple[Tensor, ...]:
    """One for each device of the kind; MPS is one device."""
    return tuple(module.get_rng_state_all()) if hasattr(module, "get_rng_state_all") else (module.get_rng_state(),)


def _plain(state: Any) -> Any:
    return None if state is None else (state[0], state[1].tolist(), *state[2:])
