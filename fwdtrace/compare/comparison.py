"""The values a comparison is made of: Comparison, Difference and the evidence for them. Frozen, and free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Literal

from fwdtrace.trace import Finding, ModelInfo, Trace, Versions

Kind = Literal["direct-forward", "traces"]

Severity = Literal["numbers", "gradients", "exception", "structure", "rounding", "cost", "observation"]

SEVERITIES: dict[Severity, str] = {
    "numbers": "wrong numbers",
    "gradients": "wrong or missing gradients",
    "exception": "exception",
    "structure": "another structure",
    "rounding": "other rounding",
    "cost": "same numbers at another cost",
    "observation": "lost observation",
}
"""What a difference does to the user, worst first."""

FIRST_STEP, SECOND_STEP, CHANGED_WEIGHTS = "first step", "second step", "changed weights"
"""The rounds of a direct-forward comparison."""

HARM: tuple[Severity, ...] = ("numbers", "gradients", "exception")
"""The severities of which none makes up for another."""

TELLS_MOST = ("missing-gradient", "unsynchronised", "hook")
"""The kinds that name what is wrong, before those of their severity that only follow from it."""

ACT_IN_FORWARD = ("parametrization", "instance_forward")
"""The kinds of an inventory that a direct call does not skip."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same on both sides.

    `kind` says what was compared: `output`, `gradient`, `buffer`, … `path` is the qualified name of the module,
    parameter or buffer, or the place in the output; `nth` the call of a module that is called more than once, from 1.
    `before` and `after` are the two sides in words: of a direct-forward comparison the called and the direct one.
    `target` is the module that was run directly, `mode` and `round` when the difference was seen.
    """

    kind: str
    severity: Severity
    path: str
    before: str
    after: str
    message: str
    nth: int | None = None
    target: str | None = None
    mode: str | None = None
    round: str | None = None


@dataclass(frozen=True, slots=True)
class Apart:
    """How far the tensors on one side of two calls are apart, in the one that is furthest.

    `absolute` is the largest difference of two elements and `ulp` the same in units in the last place of the first of
    them; `relative` is it by the largest element. They are None where only one is NaN or infinite, and `ulp` also for
    other types. `same` is bit for bit, `close` within the tolerance of the dtype. NaN is NaN's equal.
    """

    absolute: float | None
    relative: float | None
    ulp: int | None
    same: bool
    close: bool

    @property
    def ulp_text(self) -> str:
        """The units as text, `12,345`; of an element near zero they can have fifty digits: `1.2e+38`."""
        if self.ulp is None:
            return "—"
        return f"{self.ulp:,}" if self.ulp < 10**8 else f"{self.ulp:.1e}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The first call whose inputs agree and whose output does not: innermost, as the first trace names it.

    `other_path` is its name in the second trace if that is another, `why` what is not the same in the two modules.
    """

    path: str | None
    nth: int
    class_name: str = ""
    other_path: str | None = None
    apart: Apart | None = None
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Growth:
    """How far the outputs of one call are apart, some way after the origin."""

    path: str | None
    nth: int
    apart: Apart


@dataclass(frozen=True, slots=True)
class Carried:
    """Something on a module that acts through `__call__`, or is often believed to; found without running anything.

    `kind` is that of `fwdtrace.trace.Hook`; `wrapper` for a wrapper around the module, skipped when that is entered
    from outside; or one of ACT_IN_FORWARD, which are never skipped. `mechanism`
    names a well-known one; None is the user's own, written at `file` and `line`.
    """

    path: str
    class_name: str
    kind: str
    name: str
    mechanism: str | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Fired:
    """How often one hook ran on each side, in one forward and backward pass; `name` is empty for a probe of ours."""

    path: str | None
    kind: str
    name: str
    called: int
    direct: int


@dataclass(frozen=True, slots=True)
class Measure:
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
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One module run directly, everything else as usual: `target` is its path, `""` the root.

    `call` and `entry` are how it was run on each side, `model(x)` and `model.forward(x)`; `called` and `direct` the
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
class Comparison:
    """Two runs side by side: what differs, worst first, in one sentence, and what to do about it.

    `inventory`, `experiments` and `findings` are filled by a direct-forward comparison only; `findings` are the direct
    calls that the model makes by itself. `other`, `origin`, `growth` and `traces` are of two traces only; the traces
    themselves are not saved with it. `copies` says what every run was made on, `notes` what to know besides.
    """

    kind: Kind
    verdict: str
    differences: tuple[Difference, ...]
    versions: Versions
    model: ModelInfo
    fix: str = ""
    origin: Origin | None = None
    seed: int | None = None
    copies: str = ""
    inventory: tuple[Carried, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    other: ModelInfo | None = None
    growth: tuple[Growth, ...] = ()
    traces: tuple[Trace, Trace] | None = field(default=None, compare=False, repr=False)

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        return not self.differences

    def save(self, file: str | PathLike[str]) -> None:
        """Write the comparison as JSON (format `fwdtrace.comparison/1`); OSError if the file cannot be written."""
        from fwdtrace.compare.comparison_file import save_comparison

        save_comparison(self, file)

    def __str__(self) -> str:
        if self.kind == "traces":
            from fwdtrace.render.two_traces import changes_text

            return changes_text(self)
        from fwdtrace.render.direct_forward import comparison_text

        return comparison_text(self)


def telling(differences: Sequence[Difference]) -> list[Difference]:
    """What to say where there is no room for all: one difference of each severity that does harm, else the worst."""
    harm = [difference for difference in differences if difference.severity in HARM]
    if any(difference.round == FIRST_STEP for difference in harm):  # the second step then differs as a consequence
        harm = [difference for difference in harm if difference.round != SECOND_STEP]
    rest = [difference for difference in differences if difference.severity == differences[0].severity]
    chosen = []
    for severity in HARM if harm else (differences[0].severity,):
        found = [difference for difference in harm or rest if difference.severity == severity]
        most = [difference for difference in found if difference.kind in TELLS_MOST]
        chosen.extend((most or found)[:1])
    return chosen
