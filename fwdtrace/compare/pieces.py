"""What each rank has of a tensor -> the whole tensor: by examples, along a dimension, or as a DTensor is placed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fwdtrace.compare.saved_backward import Side
from fwdtrace.compare.saved_numbers import Values


class Piece:
    """What one rank has of a tensor; `about` describes it if the tensor of this number is the same one, flat."""

    def __init__(self, values: Values, number: int, about: dict[str, Any] | None = None) -> None:
        self._values, self._number = values, number
        self.about = about if about is not None else values.about(number)

    @property
    def has_elements(self) -> bool:
        """Whether its elements are there, and not only their digest."""
        return self._values.array(self._number) is not None

    def array(self) -> Any:
        """Its elements in their shape; None if they are not there."""
        flat = self._values.array(self._number)
        return None if flat is None else flat.reshape(self.about["shape"])


@dataclass(frozen=True)
class Examples:
    """Where the reference's examples are: for each, the rank and the row there; None if the ranks have no such one.

    `extra` counts the rows of each rank that the reference does not have, or that repeat others.
    """

    rows: tuple[tuple[int, int] | None, ...]
    extra: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether the ranks have all examples of the reference."""
        return None not in self.rows


def examples_of(reference: Side, ranks: Sequence[Side]) -> Examples | None:
    """Which rank has which example of the reference, by the inputs of the model; None if that cannot be told."""
    wanted = _rows(reference)
    have = [_rows(side) for side in ranks]
    if not wanted or not all(have):
        return None
    if all(rows == wanted for rows in have):
        return None  # every rank has the whole batch
    places: dict[bytes, list[tuple[int, int]]] = {}
    for rank, rows in enumerate(have):
        for row, key in enumerate(rows):
            places.setdefault(key, []).append((rank, row))
    used: set[tuple[int, int]] = set()
    found: list[tuple[int, int] | None] = []
    for key in wanted:
        free = [place for place in places.get(key, []) if place not in used]
        found.append(free[0] if free else None)
        used.update(free[:1])
    extra = tuple(sum((rank, row) not in used for row in range(len(rows))) for rank, rows in enumerate(have))
    return Examples(tuple(found), extra)


def _rows(side: Side) -> list[bytes]:
    """A digest of each example, of all inputs of the model that have as many rows as the first."""
    roots = side.trace.children()
    if not roots:
        return []
    arrays = [
        Piece(side.values, number).array() for number in side.values.side(roots[0], "inputs") if number is not None
    ]
    if not arrays or any(array is None or array.ndim == 0 for array in arrays):
        return []
    count = len(arrays[0])
    return [
        hashlib.blake2b(b"".join(array[row].tobytes() for array in arrays if len(array) == count)).digest()
        for row in range(count)
    ]


def is_by_examples(shape: Sequence[int], shapes: Sequence[Sequence[int]], examples: Examples) -> bool:
    """Whether the first dimension holds the examples, or as many rows for each of them."""
    count, each = len(examples.rows), [list(own[1:]) == list(shape[1:]) for own in shapes]
    if not shape or not count or shape[0] % count or not all(each):
        return False
    block = shape[0] // count
    mine = [sum(place is not None and place[0] == rank for place in examples.rows) for rank in range(len(shapes))]
    return all(
        own[0] == block * (number + extra) for own, number, extra in zip(shapes, mine, examples.extra, strict=True)
    )


def by_examples(whole: Piece, pieces: Sequence[Piece], examples: Examples) -> Any:
    """The rows where the reference has them; those of examples that no rank has are NaN, or 0."""
    import numpy

    arrays = [piece.array() for piece in pieces]
    block = whole.about["shape"][0] // len(examples.rows)
    missing = numpy.nan if arrays[0].dtype.kind == "f" else 0
    result = numpy.full(whole.about["shape"], missing, dtype=arrays[0].dtype)
    for row, place in enumerate(examples.rows):
        if place is not None:
            rank, own = place
            result[row * block : (row + 1) * block] = arrays[rank][own * block : (own + 1) * block]
    return result


def joined(pieces: Sequence[Piece], dim: int) -> Any:
    """Their parts one after the other along a dimension."""
    import numpy

    return numpy.concatenate([piece.array() for piece in pieces], dim)


def ranks_of_elements(pieces: Sequence[Piece]) -> Any:
    """Which rank each element of a DTensor is on."""
    import numpy

    return of_mesh(pieces, [numpy.full(piece.about["shape"], rank) for rank, piece in enumerate(pieces)])


def of_mesh(pieces: Sequence[Piece], instead: Sequence[Any] | None = None) -> Any:
    """Put a DTensor together, one dimension of its mesh after the other: the innermost first, strided before all.

    `instead` are other arrays in the places of those of the pieces.
    """
    import numpy

    placed = pieces[0].about["placed"]
    parts_of = instead if instead is not None else [piece.array() for piece in pieces]
    arrays = {tuple(piece.about["placed"]["at"]): part for piece, part in zip(pieces, parts_of, strict=True)}
    strided = [dim for dim, text in enumerate(placed["placements"]) if "Strided" in text]
    dims = [*strided, *(dim for dim in reversed(range(len(placed["mesh"]))) if dim not in strided)]
    for dim in dims:
        text = placed["placements"][dim]
        groups: dict[tuple[int, ...], list[tuple[int, Any]]] = {}
        for place, array in arrays.items():
            groups.setdefault((*place[:dim], 0, *place[dim + 1 :]), []).append((place[dim], array))
        arrays = {}
        for place, group in groups.items():
            parts = [array for _, array in sorted(group, key=lambda part: part[0])]
            arrays[place] = parts[0]
            if "Shard" in text:
                arrays[place] = numpy.concatenate(parts, int(text.partition("dim=")[2].partition(",")[0].strip(") ")))
            elif text.startswith("Partial"):
                arrays[place] = numpy.sum(parts, 0) / (len(parts) if "avg" in text else 1)
    return arrays[min(arrays)]
