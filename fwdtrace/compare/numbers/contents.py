"""Content: what a tensor holds whatever its shape and layout, in a few numbers by which two tensors are told apart."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_SEED = 20
_ENOUGH = 8
"""Of fewer elements, that others have them too says nothing."""
_NEVER_ZERO = 1e-300
_A_LITTLE = 1000
"""A part shows in a whole if its share of it is at least this many times the tolerance."""
_HUNDREDTH = 0.01
"""A part with this share of a whole always shows, however large the tolerance is, as that of bfloat16."""
_HUGE = 1e8
"""Larger elements are counted alone: each model has another of them, or an infinite one, where it masks."""


@dataclass(frozen=True, slots=True)
class Content:
    """The elements of a tensor in a few numbers.

    `moments` are the mean, the mean size, the root of the mean square, the cube root of the mean cube, the smallest and
    the largest element: they do not depend on the order. `in_order` is a sum of the elements with a weight for each
    place in memory order: it does, and not on the shape. `special` counts NaN and what is infinite or nearly so, above
    and below 0, which the others leave out. A mask and its opposite have one content.
    """

    count: int
    special: tuple[int, int, int]
    moments: tuple[float, float, float, float, float, float]
    in_order: float

    def same_elements(self, other: Content, tolerance: float) -> bool:
        """Whether both hold the same elements in any order; `tolerance` is relative to their size."""
        if self.count != other.count or self.special != other.special:
            return False
        typical = max(self.moments[2], other.moments[2], _NEVER_ZERO)
        largest = max(map(abs, (*self.moments[4:], *other.moments[4:], _NEVER_ZERO)))
        scales = (typical, typical, typical, largest, largest, largest)
        return all(
            abs(one - two) <= tolerance * scale
            for one, two, scale in zip(self.moments, other.moments, scales, strict=True)
        )

    def shows_in(self, whole: Content, tolerance: float) -> bool:
        """Whether the whole would be another one if this, a part of it, were but a little larger or smaller."""
        share = self.count * self.moments[1]
        return share >= min(_A_LITTLE * tolerance, _HUNDREDTH) * whole.count * whole.moments[2]

    def times(self, factor: float) -> Content:
        """The content of the same elements, all multiplied by a number above 0."""
        mean, size, root, cube, low, high = (factor * moment for moment in self.moments)
        return replace(self, moments=(mean, size, root, cube, low, high), in_order=factor * self.in_order)

    @property
    def has_order(self) -> bool:
        """Whether the order of the elements is known."""
        return not math.isnan(self.in_order)

    def same_order(self, other: Content, tolerance: float) -> bool:
        """Whether the same elements also follow each other in the same order, whatever the two shapes."""
        typical = max(self.moments[2], other.moments[2], _NEVER_ZERO)
        return abs(self.in_order - other.in_order) <= 30 * tolerance * typical


class Contents:
    """Many contents with something of each, by which those with the same elements are found."""

    def __init__(self, contents: Iterable[tuple[Content, int]], tolerance: float) -> None:
        self.tolerance = tolerance
        self._by_count: dict[int, list[tuple[float, int, Content]]] = {}
        for content, number in contents:
            self._by_count.setdefault(content.count, []).append((content.moments[2], number, content))
        for rows in self._by_count.values():
            rows.sort(key=lambda row: row[:2])

    def has_multiple_of(self, content: Content) -> bool:
        """Whether one of them has the same elements, all multiplied by one number."""
        for size, _, other in self._by_count.get(content.count, []):
            factor = content.moments[2] / size if size else 0.0
            if factor and content.same_elements(other.times(factor), self.tolerance):
                return True
        return False

    def has_repeated(self, content: Content) -> bool:
        """Whether one of them has the same elements fewer times, or more: for one example, or for each."""
        return any(
            count != content.count
            and max(count, content.count) % min(count, content.count) == 0
            and next(self.like(replace(content, count=count)), None) is not None
            for count in self._by_count
            if min(count, content.count) >= _ENOUGH
        )

    def like(self, content: Content) -> Iterator[tuple[int, Content]]:
        """Those with the same elements, in any order."""
        rows = self._by_count.get(content.count, [])
        size = content.moments[2]
        reach = 2 * self.tolerance * size + _NEVER_ZERO
        for place in range(bisect_left(rows, size - reach, key=lambda row: row[0]), len(rows)):
            if rows[place][0] > size + reach:
                return
            if content.same_elements(rows[place][2], self.tolerance):
                yield rows[place][1], rows[place][2]


def content_of(tensor: Tensor, like: Content | None = None) -> Content:
    """The content of a dense tensor; `like` is that of one with the same elements in another order."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    numbers = tensor.detach().reshape(-1).to("cpu", torch.float64)
    if tensor.dtype == torch.bool and float(numbers.sum()) > numbers.numel() / 2:
        numbers = 1.0 - numbers
    if like is not None:
        numbers = numbers if not any(like.special) else _usual(numbers)
        return Content(like.count, like.special, like.moments, _in_order(numbers))
    count = numbers.numel()
    if not count:
        return Content(0, (0, 0, 0), (0.0,) * 6, 0.0)
    total = float(torch.linalg.vector_norm(numbers, 1))
    special = (0, 0, 0)
    if not total < _HUGE:
        special = int(numbers.isnan().sum()), int((numbers > _HUGE).sum()), int((numbers < -_HUGE).sum())
        numbers = _usual(numbers)
        total = float(torch.linalg.vector_norm(numbers, 1))
    low, high = (float(bound) for bound in torch.aminmax(numbers))
    cubes = float((numbers * numbers).dot(numbers)) / count
    moments = (
        float(numbers.sum()) / count,
        total / count,
        math.sqrt(float(numbers.dot(numbers)) / count),
        math.copysign(abs(cubes) ** (1 / 3), cubes),
        low,
        high,
    )
    return Content(count, special, moments, _in_order(numbers))


def content_together(contents: Sequence[Content]) -> Content:
    """The content of all elements of several tensors; their order is not known."""
    count = sum(each.count for each in contents)
    shares = [each.count / max(count, 1) for each in contents]
    means = [sum(share * each.moments[place] for share, each in zip(shares, contents, strict=True)) for place in (0, 1)]
    square = sum(share * each.moments[2] ** 2 for share, each in zip(shares, contents, strict=True))
    cube = sum(share * each.moments[3] ** 3 for share, each in zip(shares, contents, strict=True))
    low, high = min(each.moments[4] for each in contents), max(each.moments[5] for each in contents)
    special = tuple(sum(each.special[place] for each in contents) for place in range(3))
    moments = (means[0], means[1], math.sqrt(square), math.copysign(abs(cube) ** (1 / 3), cube), low, high)
    return Content(count, (special[0], special[1], special[2]), moments, math.nan)


def _usual(numbers: Tensor) -> Tensor:
    """The numbers with 0 in place of NaN and of what is infinite or nearly so."""
    return numbers.where(numbers.abs() <= _HUGE, 0.0)


class _Weights:
    """The weight of each place, drawn once from a generator of our own, and more of them when there are more places."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(_SEED)
        self.weights = torch.empty(0, dtype=torch.float64)

    def first(self, count: int) -> Tensor:
        missing = count - len(self.weights)
        if missing > 0:
            more = torch.randn(max(missing, 4096), generator=self.generator, dtype=torch.float64)
            self.weights = torch.cat([self.weights, more])
        return self.weights[:count]


_weights = _Weights()


def _in_order(numbers: Tensor) -> float:
    return float(numbers.dot(_weights.first(len(numbers)))) / math.sqrt(max(len(numbers), 1))
