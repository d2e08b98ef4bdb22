"""Which elements of a sharded weight are wrong, from its layer's inputs and outputs, and which rank holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.systematic import array_of
from fwdtrace.compare.ranks.assembled import Assembly
from fwdtrace.compare.ranks.between_ranks import ranks_text
from fwdtrace.trace import Call

_FAR = 1e-2
"""Relative to the largest difference, what is small enough to count as equal."""
_FEW = 0.1
"""The largest share of the rows of a weight that may be wrong; if more are, the fault is not in single elements."""


def wrong_element(reference: SavedRun, assembly: Assembly, call: Call) -> str | None:
    """Which elements of a linear layer's weight are wrong, and on which ranks; None if that cannot be found.

    One wrong element changes one column of the output, by a multiple of one column of the input.
    """
    name = f"{call.path}.weight" if call.path else "weight"
    held = reference.step.state.get(name)
    own = next((each for each in assembly.side.trace.at(call.path) if each.nth == call.nth), None)
    if held is None or own is None:
        return None
    shape = reference.values.about(held.tensor)["shape"]
    inputs = _first_array(reference, call, "inputs")
    gave = [_first_array(reference, call, "outputs"), _first_array(assembly.side, own, "outputs")]
    if len(shape) != 2 or inputs is None or gave[0] is None or gave[1] is None or gave[0].shape != gave[1].shape:
        return None
    if gave[0].shape[-1:] != (shape[0],) or inputs.shape[-1:] != (shape[1],):
        return None
    x, apart = inputs.reshape(-1, shape[1]), (gave[1] - gave[0]).reshape(-1, shape[0])
    by_row = abs(apart).max(0)
    rows = [int(row) for row in (by_row > _FAR * by_row.max()).nonzero()[0]]
    if not 0 < len(rows) <= max(1, _FEW * shape[0]):
        return None
    found = [(row, _column(x, apart[:, row])) for row in rows]
    places = sorted({rank for row, column in found for rank in _ranks_with(assembly, name, row, column)})
    if not places:
        return None
    words = ", ".join(f"[{row}, {':' if column is None else column}]" for row, column in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"the weight {name} differs at {words}{more}, on {ranks_text(places)}"


def _first_array(side: SavedRun, call: Call, which: Any) -> Any:
    numbers: Sequence[int | None] = side.values.side(call, which)
    return array_of(side.values, numbers[0]) if numbers and numbers[0] is not None else None


def _column(x: Any, apart: Any) -> int | None:
    """The column of the input that the difference is a multiple of; None if there is none."""
    sizes = (x * x).sum(0)
    sizes[sizes == 0] = 1.0
    factors = (x * apart[:, None]).sum(0) / sizes
    column = int((factors * factors * sizes).argmax())
    left = apart - factors[column] * x[:, column]
    return column if float((left * left).sum()) <= _FAR**2 * float((apart * apart).sum()) else None


def _ranks_with(assembly: Assembly, name: str, row: int, column: int | None) -> list[int]:
    """The ranks whose shard of a weight has this element; without a column, the ranks that have any of this row."""
    ranks = []
    for rank, side in enumerate(assembly.sides):
        held = side.step.state.get(name)
        about = side.values.about(held.tensor) if held is not None else {}
        offset = about.get("placed", {}).get("offset")
        if offset is None:
            continue
        spans = zip((row, column), offset, about["shape"], strict=True)
        if all(at is None or begin <= at < begin + size for at, begin, size in spans):
            ranks.append(rank)
    return ranks
