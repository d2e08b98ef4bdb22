"""Models that work on parts of a tensor one after the other, as on time steps: how they cut it, and what parts hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from torch import Tensor

from fwdtrace.compare.numbers.contents import Content, content_of
from fwdtrace.compare.parting.steps import Held, Steps

_CUTS = frozenset(["select", "slice", "split", "split_with_sizes", "unbind", "narrow", "chunk"])
"""Operations that give some of the rows of one dimension."""
_MOST = 64


@dataclass(frozen=True)
class Cut:
    """How a dimension of this size is cut, from the first row to the last, into parts that end at `ends`."""

    size: int
    ends: tuple[int, ...]

    def parts_of(self, tensor: Tensor) -> Iterator[tuple[Content, ...]]:
        """The contents of the parts of a tensor along each dimension of the size; those of one tuple are all of it.

        A cache grows by parts, so those up to each end are given as well. Of two such dimensions that follow each
        other, as of the scores of attention, each part has of the second what comes until its end.
        """
        if tensor.is_complex():
            return
        edges = list(pairwise((0, *self.ends)))
        dims = [dim for dim, size in enumerate(tensor.shape) if size == self.size]
        for dim in dims:
            parts = [content_of(tensor.narrow(dim, start, end - start)) for start, end in edges]
            yield tuple(parts)
            so_far = [content_of(tensor.narrow(dim, 0, end)) for end in self.ends[1:-1]]
            if so_far:
                yield (*so_far, parts[-1])
            if dim + 1 in dims:
                rows = ((tensor.narrow(dim, start, end - start), end) for start, end in edges)
                yield tuple(content_of(row.narrow(dim + 1, 0, end)) for row, end in rows)


def cut_by(steps: Steps, number: int) -> Cut | None:
    """How a step and those like it cut one tensor in all; None if it cuts nothing, or if some rows are left out."""
    step = steps.steps[number]
    if step.name not in _CUTS or not step.given:
        return None
    source = steps.held[step.given[0]]
    alike = (piece for one, piece in _pieces(steps) if (one.content, one.shape) == (source.content, source.shape))
    return _cut_of(source.shape, alike)


def cuts_into_rows(steps: Steps) -> list[Cut]:
    """The ways in which tensors that depend on the input are cut into single rows."""
    sources: dict[tuple[Content | None, tuple[int, ...]], list[Held]] = {}
    for source, piece in _pieces(steps):
        if source.follows and len(piece.shape) < len(source.shape):
            sources.setdefault((source.content, source.shape), []).append(piece)
    found = [_cut_of(shape, pieces) for (_, shape), pieces in sources.items()]
    return list(dict.fromkeys(cut for cut in found if cut is not None))


def _pieces(steps: Steps) -> Iterator[tuple[Held, Held]]:
    """What each step that cuts is given, with each piece that it gives of that."""
    for step in steps.steps:
        if step.name in _CUTS and step.given:
            source = steps.held[step.given[0]]
            yield from ((source, piece) for number in step.gave if (piece := steps.held[number]).shape != source.shape)


def _cut_of(shape: tuple[int, ...], pieces: Iterable[Held]) -> Cut | None:
    """The cut by which these are the pieces in order, if together they have all rows."""
    sizes: dict[int, list[int]] = {}
    for piece in pieces:
        size, rows = _rows(shape, piece.shape)
        sizes.setdefault(size, []).append(rows)
    for size, rows_of in sizes.items():
        ends = list(accumulate(rows_of))
        if size > 1 and size in ends and 1 < (count := ends.index(size) + 1) <= _MOST:
            return Cut(size, tuple(ends[:count]))
    return None


def _rows(shape: tuple[int, ...], piece: tuple[int, ...]) -> tuple[int, int]:
    """The size of the dimension that was cut, and how many rows of it there are; 0 if more than that was done."""
    if len(piece) == len(shape):
        changed = [(size, rows) for size, rows in zip(shape, piece, strict=True) if size != rows]
        return changed[0] if len(changed) == 1 else (0, 0)
    for dim, size in enumerate(shape):
        if shape[:dim] + shape[dim + 1 :] == piece:
            return size, 1
    return 0, 0
