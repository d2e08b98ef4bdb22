"""Steps that a GradScaler leaves out: some are how it finds its scale, and many in a row are a fault of the program."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import torch

FIRST = 3
"""After so many backward passes without a step it is asked whether a GradScaler leaves out the steps."""
MOST_SKIPPED = 10
"""So many further steps may be left out in a row."""


class SkippedSteps:
    """The backward passes of one root since its optimizer has stepped, and how far a scale has gone down meanwhile."""

    def __init__(self) -> None:
        self._passes = 0
        self._scalers: list[tuple[weakref.ref[Any], float]] | None = None

    def stepped(self) -> None:
        """The optimizer has stepped."""
        self._passes = 0

    def is_endless(self) -> bool:
        """Count a backward pass after which there was no step; whether too many steps have been left out by now.

        Where gradients are only accumulated, no scale goes down.
        """
        self._passes += 1
        if self._passes == FIRST and self._scalers != []:
            found = [each for each in gc.get_objects() if issubclass(type(each), torch.amp.GradScaler)]
            self._scalers = [(weakref.ref(each), each.get_scale()) for each in found if each.is_enabled()]
        if self._passes != FIRST + MOST_SKIPPED:
            return False
        return any(
            (scaler := reference()) is not None and _halvings(scaler, scale) >= MOST_SKIPPED - 1
            for reference, scale in self._scalers or ()
        )


def _halvings(scaler: Any, scale: float) -> float:
    """How often the scale has been lowered since it was this."""
    now = scaler.get_scale()
    return math.log(now / scale, scaler.get_backoff_factor()) if now > 0 else math.inf
