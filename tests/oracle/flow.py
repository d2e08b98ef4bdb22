"""Where tensors came from, in one form for every oracle, and what a trace says differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from fwdtrace.trace import TensorMeta, Trace


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
class Flow:
    """What is known of every tensor that went into a row, and that came out of it, in the order of its leaves."""

    inputs: tuple[Known, ...]
    outputs: tuple[Known, ...]


def flow_of(trace: Trace) -> dict[int, Flow]:
    """What a trace says of the tensors of each of its rows, by the row's id."""
    rows = (*trace.calls, *(trace.ops or ()))
    return {row.id: Flow(_known_of(row.inputs), _known_of(row.outputs)) for row in rows}


def differences_in_flow(expected: dict[int, Flow], got: dict[int, Flow]) -> list[str]:
    """Every tensor of the expected rows of which a trace says something else."""
    return [
        f"row {row}, {side}[{place}]: {told} and not {right}"
        for row, flow in expected.items()
        for side in ("inputs", "outputs")
        for place, (right, told) in enumerate(_paired(getattr(flow, side), getattr(got[row], side)))
        if right != told
    ]


def _paired(expected: tuple[Known, ...], got: tuple[Known, ...]) -> list[tuple[Known | None, Known | None]]:
    longest = max(len(expected), len(got))
    return [(_item(expected, place), _item(got, place)) for place in range(longest)]


def _item(items: tuple[Known, ...], place: int) -> Known | None:
    return items[place] if place < len(items) else None


def _known_of(leaves: tuple[Any, ...]) -> tuple[Known, ...]:
    return tuple(Known(_origin(leaf.source), leaf.changed_by) for leaf in leaves if isinstance(leaf, TensorMeta))


def _origin(source: Any) -> Origin | None:
    if source is None:
        return None
    if source.id is not None:
        return Origin("row", source.id, source.output)
    kinds = ("argument", "parameter", "buffer", "attribute", "hook")
    return next(Origin(kind, getattr(source, kind)) for kind in kinds if getattr(source, kind) is not None)
