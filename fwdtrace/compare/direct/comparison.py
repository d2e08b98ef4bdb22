"""DirectComparison: `model(x)` against `model.forward(x)`, with the evidence; and its JSON. Frozen, free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import ClassVar, TextIO

from fwdtrace.compare.difference import Difference, Severity
from fwdtrace.compare.document import LEFT_OUT_IF_NONE, save_document, write_document
from fwdtrace.trace import Finding, ModelInfo, Versions
from fwdtrace.trace.views import view

FIRST_STEP, SECOND_STEP, CHANGED_WEIGHTS = "first step", "second step", "changed weights"
"""The rounds of a direct-forward comparison."""

ACT_IN_FORWARD = ("parametrization", "instance_forward")
"""The kinds of an inventory that a direct call does not skip."""

_HARMFUL: tuple[Severity, ...] = ("numbers", "gradients", "exception")
"""The severities of which none makes up for another."""

_NAME_THE_CAUSE = ("missing-gradient", "unsynchronised", "hook")
"""The kinds of difference that name what is wrong; others of the same severity only follow from it."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Something on a module that acts through `__call__`, or is often believed to; found without running anything.

    `kind` is that of `fwdtrace.trace.Hook`; or `wrapper` for a wrapper around the module, which a direct call of the
    module skips; or one of ACT_IN_FORWARD, which are never skipped. `mechanism` names a well-known one; it is None for
    the user's own, written at `file` and `line`.
    """

    path: str
    class_name: str
    kind: str
    name: str
    mechanism: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    file: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    line: int | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True, slots=True)
class Fired:
    """How often one hook ran on each side, in one forward and backward; `name` is empty for a hook that we added."""

    path: str | None
    kind: str
    name: str
    called: int
    direct: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One thing compared in one round: what it was on each side in words, and whether it was the same."""

    what: str
    called: str
    direct: str
    same: bool


@dataclass(frozen=True, slots=True)
class Round:
    """Both sides run once on equal copies from equal random states: `mode` is `train` or `eval`, `name` says when."""

    mode: str
    name: str
    measures: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One module run directly, everything else as usual: `target` is its path, `""` the root.

    `call` and `entry` say how it was run on each side, `model(x)` and `model.forward(x)`; `called` and `direct` are the
    functions that ran from there to `forward`. `probes` are hooks that were added to copies to see whether they run.
    `reached` is false if the model never called that module.
    """

    target: str
    call: str
    entry: str
    called: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()
    hooks: tuple[Fired, ...] = ()
    probes: tuple[Fired, ...] = ()
    reached: bool = True


@dataclass(frozen=True, slots=True)
class DirectComparison:
    """A model called and run directly: the verdict in one sentence, what differs, worst first, and what to do about it.

    `inventory` is what the model carries, `experiments` what was run, `findings` the direct calls that the model makes
    by itself. `copies` says what every run was made on, `notes` what else to know.
    """

    kind: ClassVar[str] = "direct-forward"

    verdict: str
    differences: tuple[Difference, ...]
    versions: Versions
    model: ModelInfo
    fix: str = ""
    seed: int | None = None
    copies: str = ""
    inventory: tuple[Carried, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

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
        return view("direct-forward")(self)


def most_telling(differences: Sequence[Difference]) -> list[Difference]:
    """What to say where there is no room for all: one difference of each harmful severity, else one of the worst.

    `differences` are worst first, and there is at least one.
    """
    harmful = [difference for difference in differences if difference.severity in _HARMFUL]
    if any(difference.round == FIRST_STEP for difference in harmful):  # the second step then differs as a consequence
        harmful = [difference for difference in harmful if difference.round != SECOND_STEP]
    severities = _HARMFUL if harmful else (differences[0].severity,)
    chosen = []
    for severity in severities:
        alike = [difference for difference in harmful or differences if difference.severity == severity]
        causes = [difference for difference in alike if difference.kind in _NAME_THE_CAUSE]
        chosen.extend((causes or alike)[:1])
    return chosen
