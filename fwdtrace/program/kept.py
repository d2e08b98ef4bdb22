"""A call of a program while it is being recorded, and when it was recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from fwdtrace.program.optimizers import settings_of
from fwdtrace.program.roots import Root
from fwdtrace.program.wanted import Round
from fwdtrace.recorder.measures.training_keeper import KeptValues, TrainingKeeper
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording, forget_our_frames
from fwdtrace.trace import Trace


@dataclass(frozen=True)
class KeptCall:
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

    def end_backward(self, error: BaseException | None) -> None:
        """End a recording that has awaited a backward, which may have raised this."""
        top = self.root.module()
        if self.keeper is not None and top is not None:
            self.keeper.keep_gradients(top)
        if error is not None:
            self.recording.__exit__(type(error), error, error.__traceback__)
        else:
            self.recording.__exit__(None, None, None)

    def kept(self, root: int, trace: Trace) -> KeptCall:
        """The call as it was recorded, of the root with this number."""
        return KeptCall(root, self.round, trace, self.keeper.values if self.keeper is not None else None)

    def hide_our_frames(self, error: BaseException) -> None:
        """Take our frames out of the traceback of an error that the call has raised."""
        forget_our_frames(error)

    def trace(self, optimizer: Any) -> Trace:
        """What was recorded; gradients only if a backward ran, as it has if an optimizer is about to step."""
        trace = self.root.named(self.recording.trace)
        if self.event is not None:
            return replace(trace, run=replace(trace.run, event=self.event))
        ran = optimizer is not None or any(call.backward is not None for call in trace.calls)
        settings = settings_of(optimizer) if optimizer is not None else ()
        run = replace(trace.run, stepped=optimizer is not None, around=(*trace.run.around, *settings))
        return replace(trace, gradients=trace.gradients if ran else None, run=run)


def open_for(
    root: Root,
    top: nn.Module,
    round: Round,
    way: tuple[str, str],
    count: int,
    options: Options,
    max_bytes: int | None,
    event: str | None,
) -> Open:
    """A recording for a call of a root, which is the one with this number by this way in."""
    keeper = TrainingKeeper(max_bytes) if max_bytes is not None else None
    if keeper is not None:
        keeper.keep_state(top)
    number, first_id = root.rounds.get(round, (count, 0))  # one trace has the calls by all ways in
    recording = Recording(top, replace(options, alone=True, keeper=keeper), call=number, first_id=first_id)
    recording.look_around()
    return Open(root, round, way, number, recording, keeper, options.gradients, event)
