"""Which calls of a program's models to keep."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ROOTS = 20
"""The models of a program of which calls are kept."""


@dataclass(frozen=True)
class Wanted:
    """Which calls of each root to keep, counted from 1: the first ones, one of them, or every so many from the first.

    `model` is the class, bare or qualified, or the path of the modules to take as roots; None for the topmost ones.
    """

    first: int = 1
    call: int | None = None
    every: int | None = None
    model: str | None = None

    def keeps(self, number: int) -> bool:
        """Whether to keep the call with this number."""
        if self.call is not None:
            return number == self.call
        if self.every is not None:
            return (number - 1) % self.every == 0
        return number <= self.first

    def is_last(self, number: int) -> bool:
        """Whether no call after this one is kept."""
        return self.every is None and number >= (self.call or self.first)
