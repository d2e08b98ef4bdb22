"""Times from warm runs: the model is run again from the same state, and each call gets the median of its times."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from torch import nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.models.inputs import Inputs
from fwdtrace.models.randomness import RandomState, random_state
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Accelerator, Call, Trace


@dataclass(frozen=True)
class Start:
    """A model, its arguments and the random state as they are before the first run, which may change all of them."""

    module: nn.Module
    inputs: Inputs
    random: RandomState

    @classmethod
    def of(cls, module: nn.Module, inputs: Inputs) -> Start:
        """The state now; FwdtraceError if the model cannot be copied."""
        try:
            kept = copy.deepcopy((module, inputs))
        except Exception as error:  # copying runs the model's own code, and torch refuses in many ways
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
            raise FwdtraceError(f"--repeat: the model cannot be put back, as copy.deepcopy raised {why}") from None
        return cls(*kept, random_state())


def with_warm_times(trace: Trace, start: Start, times: int, call: Callable[[nn.Module, Inputs], Any]) -> Trace:
    """The trace of the first run with the medians of the times of further runs; its own times are the cold ones.

    Each run is of a copy of the model, on copies of the arguments, from the same random state. FwdtraceError if other
    calls ran than in the first run, and what the model raises if it does.
    """
    after = random_state()
    try:
        runs = [_run(start, call) for _ in range(times)]
    finally:
        after.restore()
    for calls in runs:
        if list(map(_who, calls)) != list(map(_who, trace.calls)):
            raise FwdtraceError("--repeat: run again from the same state, the model did not make the same calls")
    warm = tuple(_timed(first, again) for first, *again in zip(trace.calls, *runs, strict=True))
    return replace(trace, calls=warm, run=replace(trace.run, repeat=times))


def _run(start: Start, call: Callable[[nn.Module, Inputs], Any]) -> tuple[Call, ...]:
    module, inputs = copy.deepcopy((start.module, start.inputs))
    start.random.restore()
    recording = Recording(module, Options(False, False, False))
    with recording:
        call(module, inputs)
    return recording.trace.calls


def _who(call: Call) -> tuple[str | None, str, int, str]:
    return call.path, call.class_name, call.nth, call.entry


def _timed(first: Call, again: list[Call]) -> Call:
    warm = [call.duration_us for call in again if call.duration_us is not None]
    host = [call.host_us for call in again if call.host_us is not None]
    if first.duration_us is None or not warm:
        return first
    accelerator = None
    if host or first.memory_bytes is not None:
        accelerator = Accelerator(median(host) if host else None, first.memory_bytes)
    return replace(first, duration_us=median(warm), cold_us=first.duration_us, accelerator=accelerator)
