"""The replays of what happened in a program: run one at a time, and handed over with what is to be said beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.causes import made_in
from fwdtrace.program.loss import AND_LOSS, loss_again, with_loss_named
from fwdtrace.program.moment import Moment
from fwdtrace.program.names import name_of_called
from fwdtrace.program.passes import Pass
from fwdtrace.program.replay import TRANSFORMED, Replay, called_at, not_replayed, replayed, sound_again
from fwdtrace.program.saved_step import StepToSave
from fwdtrace.program.steps import Happened, Keep, Optimizer
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.recorder.torch_internals import wraps_compiled
from fwdtrace.trace import Trace

OBSERVED = Options(ops=True, check_finite=True, stats=True, alone=True)
"""What a replay measures."""

NOT_COMPILED = "it ran without being compiled"
"""Why what compiled code gave is not the same bit for bit when it is run again as the Python that it was made of."""


class Replays:
    """The replays of one program.

    `unhooked` gives a block in which the program's models run without our hooks. `optimizer_of` gives the optimizer
    that something is known of, if it is still there.
    """

    def __init__(
        self,
        unhooked: Callable[[], AbstractContextManager[None]],
        keep: Keep,
        saves: StepToSave,
        optimizer_of: Callable[[Optimizer | None], Any],
    ) -> None:
        self._unhooked = unhooked
        self._keep = keep
        self._saves = saves
        self._optimizer_of = optimizer_of
        self._open: tuple[Pass, Happened, Recording] | None = None

    def replay(
        self,
        noted: Pass,
        happened: Happened,
        output: Sequence[Any],
        gradients: Sequence[Tensor | None] | None,
        options: Options = OBSERVED,
    ) -> Replay:
        """Run a call again, with its backward if there are gradients, and compare what it returns with this."""
        model = _model(noted)

        def begun(recording: Recording) -> None:
            self._open = noted, happened, recording

        try:
            with self._unhooked():
                replay = replayed(noted.moment, model, options, noted.number, output, gradients, begun)
                if noted.root.groups or not _went_wrong_compiled(noted, replay):
                    return replay
                moment, top = _as_python(noted.moment, model)
                with torch.compiler.set_stance("force_eager"):
                    eager = replayed(moment, top, options, noted.number, output, gradients, begun)
        finally:
            self._open = None
        if eager.interrupt is not None or not _tells_of_numbers(eager):
            return eager if eager.interrupt is not None else replay
        return replace(eager, inexact=NOT_COMPILED) if eager.inexact else eager

    def none_of(self, noted: Pass, why: str) -> Replay:
        """In place of the replay of a call that cannot be run again, and why."""
        return not_replayed(noted.moment.module, noted.number, why)

    def replay_loss(self, noted: Pass, happened: Happened) -> Replay | None:
        """What was computed from the output, if that is where the numbers went wrong."""
        model = _model(noted)

        def begun(recording: Recording) -> None:
            self._open = noted, happened, recording

        places = noted.called_from, noted.backward_from
        try:
            with self._unhooked():
                replay = loss_again(noted.moment, *places, model, OBSERVED, noted.number, begun)
        finally:
            self._open = None
        if replay is None or replay.interrupt is not None:
            return replay
        return replay if _tells_of_numbers(replay) else None

    def hand_over(self, noted: Pass, replay: Replay, happened: Happened) -> bool:
        """Give the trace of a call to whoever keeps it, with what happened; whether the program is to be ended."""
        trace = self._with_what_happened(noted, replay, happened)
        of_loss = trace.model.class_name.endswith(AND_LOSS)
        made = None if of_loss else "output" if noted.is_spoiled else "gradients" if made_in(replay) else None
        gone = replay.inexact if replay.inexact == TRANSFORMED else ""
        self._saves.save(noted, self._optimizer_of(happened.optimizer), made, of_loss, gone)
        end_now = self._keep(noted.root, trace)
        if replay.interrupt is not None:
            raise replay.interrupt
        return end_now

    def keep_open(self) -> None:
        """Keep the replay that is running as far as it has come, for a program that is about to be killed."""
        if self._open is None:
            return
        sound_again()
        noted, happened, recording = self._open
        self._open = None
        replay = Replay(recording.trace, None, None, "the program was killed before it had ended")
        self._keep(noted.root, self._with_what_happened(noted, replay, happened))

    def _with_what_happened(self, noted: Pass, replay: Replay, happened: Happened) -> Trace:
        optimizer = happened.optimizer
        trace = replay.traced
        run = replace(
            trace.run,
            event=happened.event,
            first_us=happened.first_us,
            usual_us=happened.usual_us,
            step=optimizer.steps + happened.ahead if optimizer is not None else None,
            last_steps=tuple(optimizer.last) if optimizer is not None else (),
            earlier=tuple(each for each in noted.root.earlier if each.call < noted.number),
        )
        model = noted.root.module()
        if noted.root.name is None and model is not None:
            noted.root.name = name_of_called(model, model, None)
        return with_loss_named(called_at(replace(trace, run=run), noted.moment.position))


def _tells_of_numbers(replay: Replay) -> bool:
    return any(finding.code == "FT005" for finding in replay.trace.findings)


def _went_wrong_compiled(noted: Pass, replay: Replay) -> bool:
    """Whether numbers went wrong in a call of compiled code, which shows no op, and torch can run it without that."""
    is_compiled = wraps_compiled(type(noted.moment.module)) or any(
        call.opaque == "compiled" for call in replay.trace.calls
    )
    return is_compiled and _tells_of_numbers(replay) and hasattr(torch.compiler, "set_stance")


def _as_python(moment: Moment, model: nn.Module) -> tuple[Moment, nn.Module]:
    """The call, and the model at the top, without what only compiles them."""
    wrapper: Any = moment.module
    if not wraps_compiled(type(wrapper)):
        return moment, model
    plain = wrapper._orig_mod
    return replace(moment, module=plain), plain if model is wrapper else model


def _model(noted: Pass) -> nn.Module:
    top = noted.root.module()
    return noted.moment.module if top is None else top
