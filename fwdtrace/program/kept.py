"""A call of a program while it is being recorded, and when it was recorded."""

from __future__ import annotations

from dataclasses import dataclass

from fwdtrace.program.roots import Root
from fwdtrace.program.wanted import Round
from fwdtrace.recorder.measures.training_keeper import KeptValues, TrainingKeeper
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Trace


@dataclass(frozen=True)
class Kept:
    """A call that was recorded: of which root, counted from 0, in which round of its calls, and its numbers."""

    root: int
    round: Round
    trace: Trace
    values: KeptValues | None = None


@dataclass
class Open:
    """A call that is being recorded: of which root, in which round, by which way in, and its number by that.

    `event` is why it is recorded, if for what happened and not for its number or its mode.
    """

    root: Root
    round: Round
    way: tuple[str, str]
    number: int
    recording: Recording
    keeper: TrainingKeeper | None
    awaits_backward: bool
    event: str | None = None
