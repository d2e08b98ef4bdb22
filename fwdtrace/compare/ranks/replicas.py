"""Parameters, buffers and gradients that ranks should hold alike and do not, also those that replicate a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_step import SavedHeld
from fwdtrace.compare.ranks.pieces import chosen_of


@dataclass(frozen=True)
class Apart:
    """The `ranks` that hold something else than they should, or nothing if they are `lacking` it.

    `of` are all ranks that should hold the same. Where nobody can say which of them are wrong, `ranks` are all of them.
    """

    ranks: tuple[int, ...]
    of: tuple[int, ...]
    lacking: bool = False


def replicas_apart(
    held: Sequence[Mapping[str, SavedHeld]], ranks: Sequence[SavedRun], reference: SavedRun
) -> dict[str, Apart]:
    """The names that ranks hold otherwise, though all have the whole or the same part.

    Right is what the reference has, if a rank has that, else what most ranks have, else none.
    """
    apart = {}
    for name in dict.fromkeys(name for each in held for name in each):
        abouts = [
            side.values.about(each[name].tensor) if name in each else None
            for each, side in zip(held, ranks, strict=True)
        ]
        own = reference.step.state.get(name)
        whole = reference.values.about(own.tensor)["digest"] if own is not None else None
        for place, group in _by_place(abouts).items():
            digests = {rank: about["digest"] if (about := abouts[rank]) is not None else None for rank in group}
            if len(set(digests.values())) == 1:
                continue
            right = whole
            if place is not None and own is not None:
                right = _nearest(own, reference, [(rank, held[rank][name], ranks[rank]) for rank in group], digests)
            known = list(digests.values())
            if right not in known or right is None:
                most = max(known, key=lambda digest: (digest is not None, known.count(digest)))
                right = most if known.count(most) * 2 > len(known) or None in known else ""
            wrong = tuple(rank for rank in group if digests[rank] != right)
            apart[name] = Apart(wrong, group, lacking=all(digests[rank] is None for rank in wrong))
            break
    return apart


def _by_place(abouts: Sequence[dict[str, Any] | None]) -> dict[tuple[int, ...] | None, tuple[int, ...]]:
    """The ranks that should hold the same: all of a whole tensor, of a DTensor those with the same part."""
    places: dict[tuple[int, ...] | None, list[int]] = {}
    for rank, about in enumerate(abouts):
        placed = about.get("placed") if about is not None else None
        if placed is None:
            places.setdefault(None, []).append(rank)
        elif placed.get("offset") is not None:
            places.setdefault(tuple(placed["offset"]), []).append(rank)
    if None in places and len(places) > 1:  # some hold a part, and others the whole or nothing
        places = {None: sorted(rank for group in places.values() for rank in group)}
    return {place: tuple(group) for place, group in places.items()}


def _nearest(
    own: SavedHeld,
    reference: SavedRun,
    held: Sequence[tuple[int, SavedHeld, SavedRun]],
    digests: Mapping[int, str | None],
) -> str | None:
    """The digest of the rank whose part is that of the reference, by the elements that are in the sample of it."""
    wanted = reference.values.array(own.sample) if own.sample is not None else None
    apart: dict[int, float] = {}
    for rank, mine, side in held:
        here = chosen_of(side.values.about(mine.tensor))
        sample = side.values.array(mine.sample) if mine.sample is not None else None
        if wanted is None or sample is None or here is None or len(here) != len(wanted) or here.sum() != len(sample):
            return None
        apart[rank] = float(abs(wanted[here].astype("f8") - sample).max(initial=0.0))
    best = min(apart, key=apart.__getitem__)
    near = {digests[rank] for rank in apart if apart[rank] <= 2 * apart[best]}
    return digests[best] if len(near) == 1 else None
