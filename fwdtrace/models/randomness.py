"""The random generators that a model may use (Python, numpy, torch): seed, save and restore all of them at once."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """The states of all generators at one moment."""

    python: Any
    numpy: Any
    cpu: Tensor
    cuda: tuple[Tensor, ...]

    def restore(self) -> None:
        """Set every generator back to this state."""
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))

    def same_as(self, other: RandomState) -> bool:
        """Whether the generators would give the same numbers from both states."""
        return (
            self.python == other.python
            and _plain(self.numpy) == _plain(other.numpy)
            and torch.equal(self.cpu, other.cpu)
            and len(self.cuda) == len(other.cuda)
            and all(torch.equal(a, b) for a, b in zip(self.cuda, other.cuda, strict=True))
        )


def random_state() -> RandomState:
    """The state of every generator now; numpy's only if it has been imported, CUDA's only if it is in use."""
    numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
    cuda = tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    return RandomState(random.getstate(), numpy, torch.get_rng_state(), cuda)


def seed_all(seed: int) -> None:
    """Seed every generator; `seed` is from 0 up to, not including, 2**32."""
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


def _plain(state: Any) -> Any:
    return None if state is None else (state[0], state[1].tolist(), *state[2:])
