"""Difference: one thing that is not the same on both sides of a comparison, and how severe that is. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from fwdtrace.compare.document import LEFT_OUT_IF_NONE

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
"""What a difference does to the user, worst first, and the title above the differences of that severity."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same on both sides.

    `kind` says what was compared: `output`, `gradient`, `buffer`, … `path` is the qualified name of the module,
    parameter or buffer, or the place in the output; `nth` is the number of the call of that module, from 1.
    `before` and `after` are the two sides in words: in a direct-forward comparison the called and the direct one.
    There, `target` is the module that was run directly, and `mode` and `round` say when the difference appeared.
    """

    kind: str
    severity: Severity
    path: str
    before: str
    after: str
    message: str
    nth: int | None = None
    target: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    mode: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    round: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


def worst_first(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """The differences by severity; those of one severity keep their order."""
    order = list(SEVERITIES)
    return tuple(sorted(differences, key=lambda difference: order.index(difference.severity)))
