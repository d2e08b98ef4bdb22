"""What each rank has of a tensor -> the whole tensor: along a dimension, or as a DTensor is placed on its mesh."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fwdtrace.compare.programs.saved_numbers import Values

SAMPLED = 1024
"""The most elements that are kept of a parameter or buffer, evenly chosen, as the recorder does."""


class RankPiece:
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


def joined(pieces: Sequence[RankPiece], dim: int) -> Any:
    """Their parts one after the other along a dimension."""
    import numpy

    return numpy.concatenate([piece.array() for piece in pieces], dim)


def chosen_of(about: Mapping[str, Any]) -> Any:
    """Which elements of the sample of a whole DTensor are on a part; None if the part is not one block of it."""
    import numpy

    placed = about["placed"]
    if placed.get("offset") is None:
        return None
    total = math.prod(placed["shape"])
    chosen = numpy.arange(0, total, max(1, -(-total // SAMPLED)))
    here = numpy.ones(len(chosen), dtype=bool)
    where = numpy.unravel_index(chosen, placed["shape"]) if placed["shape"] else ()
    for at, begin, size in zip(where, placed["offset"], about["shape"], strict=True):
        here &= (at >= begin) & (at < begin + size)
    return here


def sample_of(pieces: Sequence[tuple[Mapping[str, Any], Any]]) -> tuple[Any, Any] | None:
    """The sample of a DTensor, of those of its parts, and which rank each element is on; None if one is on no rank.

    `pieces` are what is known of each rank's part, and its sample: the elements that are in the sample of the whole.
    """
    import numpy

    found: Any = None
    for rank, (about, sample) in enumerate(pieces):
        here = chosen_of(about)
        if here is None or here.sum() != len(sample):
            return None
        if found is None:
            found, ranks = numpy.zeros(len(here), dtype=sample.dtype), numpy.full(len(here), -1)
        new = here & (ranks < 0)
        found[new], ranks[new] = sample[new[here]], rank
    return None if found is None or (ranks < 0).any() else (found, ranks)


def of_mesh(pieces: Sequence[RankPiece]) -> Any:
    """Put a DTensor together, one dimension of its mesh after the other: the innermost first, strided before all."""
    import numpy

    placed = pieces[0].about["placed"]
    arrays = {tuple(piece.about["placed"]["at"]): piece.array() for piece in pieces}
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
