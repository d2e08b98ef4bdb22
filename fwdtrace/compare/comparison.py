"""TraceComparison: what differs between two traces, led by where they part; and its JSON. Frozen, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import ClassVar, Literal, TextIO

from fwdtrace.compare.around import Around
from fwdtrace.compare.difference import Difference
from fwdtrace.compare.document import LEFT_OUT_IF_NONE, save_document, write_document
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.compare.outputs_value import Outputs
from fwdtrace.compare.weight_map import WeightMap
from fwdtrace.trace import ModelInfo, Site, Trace, Versions
from fwdtrace.trace.views import view

Pass = Literal["forward", "backward", "weights"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where two runs part: the first call, as far inside as possible, whose inputs agree and whose output does not.

    `path`, `nth` and `class_name` are those of the first trace; `other_path` is the path in the second if that is
    another. `apart` says how far the outputs are apart, `why` what is not the same on both sides, in words. If an op
    that the call ran itself is the origin, `op` names it. `site` is the line of the second that runs it, `first_site`
    the line of the first in its place. `which` is the pass that parts, `pass` in the JSON: "weights" are those before a
    call, which its forward and backward only follow. `call` is the number of the call of the root in its program.
    """

    path: str | None
    nth: int
    class_name: str = ""
    other_path: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    apart: Distance | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    why: tuple[str, ...] = ()
    op: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    site: Site | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    first_site: Site | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    which: Pass = "forward"
    call: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True, slots=True)
class Growth:
    """How far the outputs of one call are apart, at the origin or some way after it."""

    path: str | None
    nth: int
    apart: Distance


ApartAt = tuple[int, str | None, Distance]
"""How far apart what a call of the first trace gives is, or its gradient, or that of its parameter of this name."""


@dataclass(frozen=True, slots=True)
class ComparedStep:
    """One call of the model of two programs: how far apart all is that belongs to it.

    `call` is its number in the first program, `other` in the second. `weights` names the parameters and buffers that
    were apart before it, None if they were not saved. `forward` is how far what the model gives is apart, `backward`
    how far the gradients of its parameters are, None if that is not known.
    """

    call: int
    other: int
    inputs_agree: bool | None
    weights: tuple[str, ...] | None = None
    weights_apart: Distance | None = None
    forward: Distance | None = None
    backward: Distance | None = None


@dataclass(frozen=True, slots=True)
class TraceComparison:
    """Two traces side by side: the verdict in one sentence, and what differs, worst first.

    `model` is that of the first trace and `other` that of the second; `versions` and `seed` are the first's. `around`
    is what was set otherwise around the two runs. `growth` says how the difference grows from the origin on, `notes`
    what else to know. `traces` are the two traces themselves, `aligned` has the ids of the calls that belong together
    and whether they give the same, `distances` how far apart they are in forward, in order, and `backward_distances` in
    backward: these are not saved with the comparison. `outputs` has what two models of different
    structure give, `weights` which of them were moved from the first into the second. `steps` are the calls of two
    programs, if several were compared; all else is about the first that is not the same.
    """

    kind: ClassVar[str] = "traces"

    verdict: str
    differences: tuple[Difference, ...]
    versions: Versions
    model: ModelInfo
    other: ModelInfo
    origin: Origin | None = None
    growth: tuple[Growth, ...] = ()
    seed: int | None = None
    notes: tuple[str, ...] = ()
    outputs: Outputs | None = None
    weights: WeightMap | None = None
    around: tuple[Around, ...] = ()
    steps: tuple[ComparedStep, ...] = ()
    traces: tuple[Trace, Trace] | None = field(default=None, compare=False, repr=False)
    aligned: tuple[tuple[int, int, bool], ...] = field(default=(), compare=False, repr=False)
    distances: tuple[ApartAt, ...] = field(default=(), compare=False, repr=False)
    backward_distances: tuple[ApartAt, ...] = field(default=(), compare=False, repr=False)

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        return not self.differences

    def save(self, file: str | PathLike[str]) -> None:
        """Write the comparison as JSON (format `fwdtrace.comparison/1`); OSError if the file cannot be written."""
        save_document(self, file)

    def write(self, stream: TextIO) -> None:
        """Write the same JSON to an open stream."""
        write_document(self, stream)

    def __str__(self) -> str:
        return view("two-traces")(self)
