"""How often a model of a program was called, in which mode, and by which way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["evaluation", "training without gradients", "training with gradients"]
MODES: tuple[Mode, Mode, Mode] = ("evaluation", "training without gradients", "training with gradients")

Origin = Literal["a copy", "an average", "loaded"]

Way = tuple[str | None, str]
"""The path of the module that was called from outside, `""` for the model itself, and the entry."""


@dataclass(frozen=True)
class Called:
    """A model of which a call was kept, and how often it was called in each mode, by each way in.

    `name` is the variable that held it, if one was found, `path` where it is in the module that holds it, `wraps` the
    class of the module that it wraps. `counted` is false if there may have been further calls. `origin` says how it
    came to be, unless it was simply constructed.
    """

    class_name: str
    name: str | None
    path: str | None
    wraps: str | None
    ways: Mapping[Way, Mapping[Mode, int]]
    counted: bool = True
    origin: Origin | None = None
