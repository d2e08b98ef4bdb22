"""How often a model of a program was called, in which mode, and by which way in; and the errors of its calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fwdtrace.trace.trace import Trace

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
    came to be, unless it was simply constructed. `in_backward` counts the calls of the model itself that backward made.
    """

    class_name: str
    name: str | None
    path: str | None
    wraps: str | None
    ways: Mapping[Way, Mapping[Mode, int]]
    counted: bool = True
    origin: Origin | None = None
    in_backward: int = 0


@dataclass(frozen=True)
class Caught:
    """What was raised at one place, `count` times: in which call of which model, and a trace of the op that raised.

    `text` is the first line of the message at first, `layer` the path and class of the part of the model that raised,
    if it was one of a library. `file` is "" where no code of the program's ran, as in a thread of a pool. Without a
    trace, it is not known what the op was given, or it is an error that the program raised itself.
    """

    class_name: str
    name: str | None
    call: int | None
    error: str
    text: str
    file: str
    line: int
    count: int
    trace: Trace | None
    layer: str = ""
