"""Where tensors came from, in one form for every oracle, and what a trace says differently."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from fwdtrace.trace import Leaf, Source, TensorMeta, Trace


class Origin(NamedTuple):
    """Where a tensor came from: `("row", 12, 0)` is the first output of the call or op 12; `("argument", "x", 0)`."""

    kind: str
    name: int | str
    output: int = 0


class Known(NamedTuple):
    """What is known of a tensor as it was used: its origin, and the row that wrote into it since; None is unknown."""

    origin: Origin | None
    changed_by: int | None = None


@dataclass(frozen=True)
class Sides:
    """What is known of every tensor that went into a row, and that came out of it, in the order of its leaves."""

    inputs: tuple[Known, ...]
    outputs: tuple[Known, ...]


def flow_of(trace: Trace) -> dict[int, Sides]:
    """What a trace says of the tensors of each of its rows, by the row's id."""
    return {row.id: Sides(known_of(row.inputs), known_of(row.outputs)) for row in trace.events}


def differences_in_flow(expected: dict[int, Sides], got: dict[int, Sides]) -> list[tuple[int, str]]:
    """Every tensor of the expected rows of which something else is told: the row, and what differs."""
    return [
        (row, f"{side}[{place}] is told as {told} and not {right}")
        for row, sides in expected.items()
        for side in ("inputs", "outputs")
        for place, (right, told) in enumerate(zip_longest(getattr(sides, side), getattr(got[row], side)))
        if right != told
    ]


def known_of(leaves: tuple[Leaf, ...]) -> tuple[Known, ...]:
    """What a trace says of the tensors among these leaves."""
    return tuple(Known(_origin(leaf.source), leaf.changed_by) for leaf in leaves if isinstance(leaf, TensorMeta))


def _origin(source: Source | None) -> Origin | None:
    if source is None:
        return None
    if source.id is not None:
        return Origin("row" if source.call is None else f"row of call {source.call}", source.id, source.output or 0)
    kinds = ("argument", "parameter", "buffer", "attribute", "hook")
    return next(Origin(kind, getattr(source, kind)) for kind in kinds if getattr(source, kind) is not None)
