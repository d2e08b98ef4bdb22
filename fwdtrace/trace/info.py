"""How a trace came about: the versions, the model as a whole, and the run."""

from __future__ import annotations

from dataclasses import dataclass

from fwdtrace.trace.values import Value


@dataclass(frozen=True, slots=True)
class Versions:
    """What the trace was recorded with."""

    fwdtrace: str
    torch: str
    python: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model as a whole: its spec if it came from one, its qualified class, its mode and its parameter count.

    `trainable` counts the elements of those parameters that require a gradient. `parameter_bytes` and `buffer_bytes`
    are what all of its parameters and buffers take, shared ones once. All three are None in traces of before 0.2.
    In a program, `name` is the variable that held it, if it was found, and `path` where it is in the module that holds
    it, if one does.
    """

    spec: str | None
    class_name: str
    training: bool
    parameters: int
    trainable: int | None = None
    parameter_bytes: int | None = None
    buffer_bytes: int | None = None
    name: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class StepOutput:
    """A single number, such as a loss, that a call before a step returned: the number of the call, and its leaf's name.

    The value is None if it was not finite.
    """

    call: int
    name: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class StepInfo:
    """A step of an optimizer: its number, from 1, the learning rates, and the norm of the gradients before it wrote.

    The norm is None if the gradients were not finite. `outputs` are the single numbers that the calls before it gave.
    """

    number: int
    learning_rates: tuple[float, ...] = ()
    gradient_norm: float | None = None
    outputs: tuple[StepOutput, ...] = ()


@dataclass(frozen=True, slots=True)
class Magnitude:
    """The largest absolute value in what the module at a path gave; the value is None if some were not finite."""

    path: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class EarlierCall:
    """A call before this one that was recorded too, by its number, and how large the numbers of each module were."""

    call: int
    largest: tuple[Magnitude, ...] = ()


@dataclass(frozen=True, slots=True)
class RunInfo:
    """How the model was run; `duration_us` is the wall time of the whole recording on the host in microseconds.

    `call` counts the calls of the root in the program, from 1, those before this trace included; the trace begins with
    that one. Outside `exec` only calls that were recorded are counted, and a recording without one counts as one.
    `values` is the name of the file beside the trace that holds its numbers, if they were saved, and `values_digest`
    the digest in that file, so that another run's is told apart. `event` is why a call was kept that nobody had chosen,
    `"error"`, `"nonfinite"`, `"signal"` or `"slow"`, and `replay` how like the first time it ran when it was run again
    to be seen, `"exact"` or `"inexact"`, with `replay_reason` if it was not. Of a call that was slow, `first_us` is the
    time that it took at first, and `usual_us` the median of the calls before it. `step` is the number of the
    optimizer's step that the call belongs to, and `last_steps` are the steps before it, the latest last, and the step
    itself if it had come to it. `earlier` are the last calls before it that were recorded under statistics. `repeat` is
    how many further runs, from the same state, the times of the calls are the medians of.

    `around` is what else was set when it began and may change its numbers: versions of libraries, variables of the
    environment, settings of torch, threads, autocast, the seed and a digest of the random state; each by its name.
    Under `exec`, `program` is the same text for all traces of one process and no others, and `stepped` says that an
    optimizer of the parameters was about to step when the recording of a backward ended.
    """

    device: str
    grad: bool
    seed: int | None
    rank: int | None
    duration_us: float
    values: str | None = None
    values_digest: str | None = None
    call: int | None = None
    event: str | None = None
    replay: str | None = None
    replay_reason: str | None = None
    first_us: float | None = None
    usual_us: float | None = None
    step: int | None = None
    last_steps: tuple[StepInfo, ...] = ()
    earlier: tuple[EarlierCall, ...] = ()
    repeat: int | None = None
    around: tuple[Value, ...] = ()
    program: str | None = None
    stepped: bool = False
