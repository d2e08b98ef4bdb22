"""Outputs: what two models give, paired, and how far each pair is apart. Frozen, and free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from fwdtrace.compare.document import LEFT_OUT_IF_NONE
from fwdtrace.compare.numbers.distance import Distance


@dataclass(frozen=True, slots=True)
class OutputPair:
    """Two results that belong together, by their names; `order` is how the dimensions of the second are turned."""

    first: str
    second: str
    apart: Distance
    order: tuple[int, ...] | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The results of two models: whether they are equal, the pair that is furthest apart, and those without a partner.

    `equal` is None if there was nothing that could be compared. `rounding` says that those that are not the same bit
    for bit were measured, and are apart by rounding alone.
    """

    equal: bool | None
    furthest: Distance | None
    pairs: tuple[OutputPair, ...]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    rounding: bool = False


def output_name(pair: OutputPair) -> str:
    """The names of two results that belong together, `the result` if they have none."""
    names = [name.removeprefix(".") for name in (pair.first, pair.second) if name]
    if not names:
        return "the result"
    return "result " + (names[0] if len(set(names)) == 1 else " and ".join(names))
