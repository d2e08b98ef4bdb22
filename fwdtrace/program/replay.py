"""Run a call of a program's model once more under observation, as it ran at first, and leave no trace of it."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from fwdtrace.models.randomness import random_state
from fwdtrace.program.moment import Moment, modes_now
from fwdtrace.program.passes import run_backward, sum_of
from fwdtrace.program.state import state_kept
from fwdtrace.program.together import synchronise_nothing
from fwdtrace.program.traces import with_findings
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.frames import NOWHERE, Position, site_at
from fwdtrace.recorder.measures.values import same_numbers
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.recorder.torch_internals import Unseen
from fwdtrace.trace import Trace

EXACT, INEXACT = "exact", "inexact"
TRANSFORMED = "torch.func ran it, as vmap and grad do, and its tensors end with that"
"""Why a call is not run again whose tensors are gone, though the program may hold them."""


@dataclass(frozen=True)
class Replay:
    """A call that was run again: its trace, what it returned or raised, and why it was not as at first; "" if it was.

    `raised` is also what ended the backward that was run behind it. If nothing `ran`, `inexact` says why.
    """

    trace: Trace
    output: Any
    raised: BaseException | None
    inexact: str = ""
    ran: bool = True

    @property
    def interrupt(self) -> BaseException | None:
        """What the user or a signal raised while it ran, and the program has to get."""
        return self.raised if self.raised is not None and is_interrupt(self.raised) else None

    @property
    def traced(self) -> Trace:
        """The trace that says how like the first time it ran."""
        how = (INEXACT if self.inexact else EXACT) if self.ran else None
        run = replace(self.trace.run, replay=how, replay_reason=self.inexact or None)
        return replace(self.trace, run=run)


Output = Sequence[Tensor | float | None]
"""What is left of the tensors that a call had returned: each itself, else the sum of its elements, else nothing."""


Begun = Callable[[Recording], None]
"""Takes the recording of a replay that is about to run."""


def replayed(
    moment: Moment,
    model: nn.Module,
    options: Options,
    number: int | None,
    output: Output | None = None,
    gradients: Sequence[Tensor | None] | None = None,
    begun: Begun = lambda recording: None,
) -> Replay:
    """Run a call again from its moment, and compare what it returns with `output`, bit for bit.

    `model` is at the top of what holds the module that is called, `number` that of the call. With `gradients`, the
    backward is run behind it, from these gradients of the tensors that it had returned.
    """
    if moment.modes.transforms not in (None, modes_now().transforms):
        return not_replayed(model, number, TRANSFORMED)
    args, kwargs = moment.args, moment.kwargs
    options = replace(options, gradients=gradients is not None, alone=True)
    recording = Recording(model, options, call=number)
    result: list[Any] = []

    def run() -> None:
        if unable is not None:
            raise unable
        begun(recording)
        result.append(moment.run(args, kwargs))
        if gradients is not None:
            run_backward(tensors_of(result[0]), gradients)

    before = random_state()
    written: list[Tensor] = []
    unable: Exception | None = None
    with contextlib.ExitStack() as stack:
        try:
            args, kwargs = tree_map_only(Tensor, _cut_off, (args, kwargs))
            arguments = tensors_of((moment.args, moment.kwargs)) if moment.was_written_into() else []
            written = stack.enter_context(state_kept(model, arguments))
            stack.enter_context(silence())
            stack.callback(before.restore)
            _put_back(moment)
            synchronise_nothing(model)
            stack.enter_context(moment.modes.again())
        except Exception as error:  # such as no memory for copies: the program must not end because of us
            unable = error
        raised = recorded(recording, run)
    trace = _trace_of(recording)
    if trace is None:
        nothing = not_replayed(model, number, f"it could not be recorded: {type(raised).__name__}: {raised}")
        return replace(nothing, raised=raised, ran=True)
    inexact = ""
    if raised is not None and output is not None:
        inexact = f"the replay raised {type(raised).__name__}"
    elif output is not None and not _same(tensors_of(result[0]), output):
        inexact = _why_inexact(moment, written)
    return Replay(trace, result[0] if result else None, raised, inexact)


def not_replayed(model: nn.Module, number: int | None, why: str) -> Replay:
    """In place of the replay of a call, if there is none: a trace without calls."""
    with Recording(model, Options(alone=True), call=number) as nothing:
        pass
    return Replay(nothing.trace, None, None, why, ran=False)


def _trace_of(recording: Recording) -> Trace | None:
    """What was recorded; None if the recording itself failed, which must not end the program."""
    try:
        return recording.trace
    except RuntimeError:
        return None


def recorded(recording: Recording, run: Callable[[], Any]) -> BaseException | None:
    """Run something in a recording; what it raised, Ctrl-C too, so that what was recorded is not lost."""
    try:
        with recording:
            run()
    except BaseException as error:
        return error
    return None


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, or was raised by the program's own handler of a signal: it is none of a replay's doing."""
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {_code_of(handler) for handler in handlers if callable(handler)} - {None}
    step = error.__traceback__
    while step is not None and step.tb_frame.f_code not in codes:
        step = step.tb_next
    return step is not None


def _code_of(handler: Any) -> CodeType | None:
    function = handler.func if isinstance(handler, functools.partial) else handler
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)


def called_at(trace: Trace, position: Position | None) -> Trace:
    """The trace as of a call that was made there, and not by us."""
    site = site_at(position) if position is not None and position is not NOWHERE else None
    calls = tuple(replace(call, site=site) if call.parent is None else call for call in trace.calls)
    return with_findings(replace(trace, calls=calls))


def _cut_off(tensor: Tensor) -> Tensor:
    """The same numbers, of which the graph behind them is none of the replay's business."""
    if not tensor.requires_grad or isinstance(tensor, nn.Parameter):
        return tensor
    with torch.no_grad():
        return tensor.detach().requires_grad_()


def _put_back(moment: Moment) -> None:
    moment.random.restore()
    with torch.no_grad():
        for reference, value in moment.buffers:
            buffer = reference()
            if buffer is not None and buffer.shape == value.shape:
                buffer.copy_(value)
    for held, values in moment.attributes:
        module = held()
        if module is not None:
            module.__dict__.update(values)


def _same(tensors: list[Tensor], output: Output) -> bool:
    return len(tensors) == len(output) and all(map(_same_tensor, tensors, output))


def _same_tensor(tensor: Tensor, before: Tensor | float | None) -> bool:
    if before is None:
        return True
    with Unseen():
        if isinstance(before, float):
            total = sum_of(tensor)
            return total is not None and _bits(torch.tensor(total)) == _bits(torch.tensor(before))
        if same_numbers(tensor, before):
            return True
        if (tensor.shape, tensor.dtype) != (before.shape, before.dtype):
            return False
        with contextlib.suppress(RuntimeError, NotImplementedError):  # NaN is unlike itself, its bits are not
            return torch.equal(tensor.isnan(), before.isnan()) and torch.equal(
                tensor.nan_to_num(nan=0.0), before.nan_to_num(nan=0.0)
            )
        return False


def _bits(number: Tensor) -> int:
    return int(number.nan_to_num(nan=0.0).view(torch.int32)) if not number.isnan() else -1


def _why_inexact(moment: Moment, written: Sequence[Tensor]) -> str:
    if moment.was_written_into():
        return "an argument was written into after the call had begun"
    if any(isinstance(tensor, nn.Parameter) for tensor in written):
        return "it writes into its own parameters"
    if moment.has_other_weights:
        return "it ran with weights that torch.func.functional_call gave it, and now with its own"
    return "it computes from something that changes with each call: other random numbers, or what it keeps in Python"


_silenced: list[tuple[int, int]] = []
"""The descriptors that lead nowhere, and copies of what they led to."""


def sound_again() -> None:
    """Let stderr be read again, though a replay is running: the program is about to be killed."""
    for descriptor, copy in _silenced:
        if descriptor == 2:
            os.dup2(copy, descriptor)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Let nothing be printed: the program has printed it already."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    _silenced.extend(saved)
    try:
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            yield
    finally:
        del _silenced[-len(saved) :]
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
