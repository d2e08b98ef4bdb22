"""The gradients that came to what the calls of each rank gave, against those of the run of one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fwdtrace.compare.programs.saved_backward import GRADIENT_TOLERANCES, SavedRun
from fwdtrace.compare.ranks.assembled import Assembly
from fwdtrace.compare.ranks.between_ranks import ranks_text
from fwdtrace.compare.ranks.examples import Examples
from fwdtrace.compare.ranks.pieces import RankPiece
from fwdtrace.trace import Call
from fwdtrace.trace.text import path_text

_SAME = 1e-2
"""By how much two factors may be apart and be the same."""


def came_otherwise(reference: SavedRun, assembly: Assembly) -> tuple[Call, str] | None:
    """The first call in backward at which a gradient came on some rank that is not the reference's, and what of it.

    A mean over the examples of one rank makes gradients that are larger than those of a mean over all of them: what
    counts is that all ranks have the same factor.
    """
    orders = {call.id: call.backward.order for call in reference.trace.calls if call.backward is not None}
    for id, place in sorted(assembly.backward, key=lambda key: (orders.get(key[0], 0), key)):
        factors = list(_factors(assembly, *assembly.backward[id, place]))
        known = [factor for factor, _ in factors if factor is not None]
        call = reference.trace.call(id)
        if None in known or not known:
            continue
        others = [rank for rank, (factor, fits) in enumerate(factors) if factor is not None and not fits]
        at = f"the gradient that comes to {path_text(call.path)}"
        if others:
            who = "all ranks" if len(others) == len(factors) else ranks_text(others)
            loss = ": the loss or its targets are others" if call.parent is None else ""
            return call, f"{at} differs on {who}{loss}"
        usual = _usual(known, len(assembly.examples.groups))
        odd = [rank for rank, (factor, _) in enumerate(factors) if factor is not None and not _near(factor, usual)]
        if odd:
            times = known[odd[0]] / usual
            return call, f"{at} is {times:.4g} times as large on {ranks_text(odd)} as on the others"
    return None


def _factors(assembly: Assembly, whole: RankPiece, pieces: list[RankPiece]) -> Iterator[tuple[float | None, bool]]:
    """By what each rank's gradient is larger than the reference's, and whether it is that in all elements."""
    tolerance = GRADIENT_TOLERANCES.get(whole.about["dtype"], 1e-4)
    for rank, piece in enumerate(pieces):
        wanted, array = _part_by_examples(whole, piece, rank, assembly.examples), piece.array()
        if wanted is None or array is None or wanted.shape != array.shape or array.dtype.kind != "f":
            yield None, True
            continue
        wanted, array = wanted.astype("f8"), array.astype("f8")
        size = float((wanted * wanted).sum())
        factor = float((wanted * array).sum()) / size if size else 0.0
        if not factor:
            yield None, True
            continue
        largest = float(abs(wanted).max()) * abs(factor)
        yield factor, bool(float(abs(array - factor * wanted).max()) <= 10 * tolerance * largest)


def _usual(factors: list[float], groups: int) -> float:
    """The factor of most ranks; where there is none, that of a mean over each rank's examples."""
    counts = [sum(_near(factor, other) for other in factors) for factor in factors]
    if max(counts) * 2 > len(factors):
        return factors[counts.index(max(counts))]
    return next((factor for factor in factors if _near(factor, groups) or _near(factor, 1)), factors[0])


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME * abs(other)


def part_of(whole: RankPiece, piece: RankPiece, rank: int, examples: Examples) -> Any:
    """What the reference has in the place of a rank's part, or of its replica; None if that is not known."""
    part = _part_by_examples(whole, piece, rank, examples)
    if part is None and "placed" not in piece.about and whole.about["shape"] == piece.about["shape"]:
        return whole.array()
    return part


def _part_by_examples(whole: RankPiece, piece: RankPiece, rank: int, examples: Examples) -> Any:
    """What the reference has for a rank's examples; None for what is not by examples, such as sums over them."""
    array, group = whole.array(), examples.group_of(rank)
    if "placed" in piece.about or array is None:
        return None
    return examples.part(array, group) if examples.shape(list(array.shape), group) == piece.about["shape"] else None
