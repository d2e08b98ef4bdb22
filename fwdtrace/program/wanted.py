"""Which calls of a program's models to keep, and the modes that their calls are in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_ROOTS = 20
"""The models of a program of which calls are kept."""

EVALUATION, WITHOUT_GRADIENTS, TRAINING = range(3)
"""The modes of a call by their place in `MODES` of `trace/called.py`, and in what counts calls."""

Round = tuple[str, int]
"""The calls of a root that are shown together, one for each way in: "training", "other" or "", and their number."""


EVENTS = ("error", "nonfinite", "signal", "slow")
USUALLY_SLOW = 3.0
"""A call is slow that takes so many times its usual time, unless another number is given."""


def what_is_wrong(event: str) -> str:
    """What is wrong with an event as a user names it, "nonfinite" or "slow=2.5"; "" if nothing is."""
    name, given, factor = event.partition("=")
    if name not in EVENTS or (given and name != "slow"):
        return f"there is no such event; there are {', '.join(EVENTS)}"
    if given and not (factor.replace(".", "", 1).isdigit() and float(factor) > 1):
        return "give a number above 1, as in slow=2.5"
    return ""


def slow_factor(events: Sequence[str]) -> float | None:
    """Beyond how many times the usual a call is slow; None if none of the events is that a call is slow."""
    event = next((event for event in events if event.startswith("slow")), None)
    return None if event is None else float(event.partition("=")[2] or USUALLY_SLOW)


@dataclass(frozen=True)
class Looks:
    """What every call of a root is looked at for: numbers that are not finite, and a time beyond `slow` times usual.

    `last` is how many steps of its optimizer are reported with what happened in a call. `save_step` is the folder into
    which the first such call is written, so that it can be made again elsewhere.
    """

    nonfinite: bool = False
    slow: float | None = None
    last: int = 5
    save_step: str | None = None


@dataclass(frozen=True)
class Wanted:
    """Which calls of each root to keep: the first ones, one of them, every so many, or those that are in a mode.

    Without `first`, `call` and `every`, which count from 1, it is the first call in training with gradients and, unless
    `train` is set, the first one that is not. `model` is the class, bare or qualified, or the path of the modules to
    take as roots, and may have the wildcards of a shell; None for the topmost modules. With `looks`, every call is
    looked at, and with `alone` beside it, none is kept for its number or mode.
    """

    first: int | None = None
    call: int | None = None
    every: int | None = None
    train: bool = False
    model: str | None = None
    looks: bool = False
    alone: bool = False

    @property
    def by_number(self) -> bool:
        """Whether calls are chosen by their number, and not by their mode."""
        return not (self.first is self.call is self.every is None)

    def round(self, mode: int, calls: list[int]) -> Round | None:
        """What a call belongs to if it is kept, the last of these calls, which are counted by mode; else None."""
        if self.alone:
            return None
        number = sum(calls)
        if self.by_number:
            return ("", number) if self._keeps(number) else None
        if mode == TRAINING:
            return ("training", 1) if calls[TRAINING] == 1 else None
        return ("other", 1) if not self.train and calls[EVALUATION] + calls[WITHOUT_GRADIENTS] == 1 else None

    def may_keep(self, mode: int, calls: list[int]) -> bool:
        """Whether the next call may be kept if it is in this mode, after these calls by mode."""
        if self.looks or self.every is not None:
            return True
        if self.alone:
            return False
        if self.by_number:
            return sum(calls) < (self.call or self.first or 0)
        if mode == TRAINING:
            return not calls[TRAINING]
        return not self.train and not calls[EVALUATION] and not calls[WITHOUT_GRADIENTS]

    def _keeps(self, number: int) -> bool:
        if self.call is not None:
            return number == self.call
        if self.every is not None:
            return (number - 1) % self.every == 0
        return number <= (self.first or 0)
