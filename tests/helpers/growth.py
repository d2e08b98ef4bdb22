"""How much longer something takes than something else in the same process, however fast the machine is."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

ATTEMPTS = 5
"""What else the machine does disturbs some of them."""


def takes_at_most(times: float, work: Callable[[], object], reference: Callable[[], object]) -> bool:
    """Whether the work takes at most so many times the processor time of the reference, in one of several attempts."""
    return any(_seconds(work) <= times * _seconds(reference) for _ in range(ATTEMPTS))


def _seconds(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began
