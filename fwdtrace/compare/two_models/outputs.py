"""What two models give: which result of one belongs to which of the other, and how far these are apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch import Tensor

from fwdtrace.compare.numbers.distance import Distance, furthest
from fwdtrace.compare.numbers.tensors import distance_of_tensors
from fwdtrace.compare.outputs_value import OutputPair, Outputs

NEAR = 1e-3
"""Results that are so near to each other by their largest element are taken for the same one."""
MOST_DIMENSIONS = 5
"""Of a tensor of more dimensions, not all orders of them are tried."""


Named = Sequence[tuple[str, Tensor]]


def outputs_of(ours: Named, theirs: Named) -> Outputs:
    """Pair the results by name, then by equal numbers, then by shape in order, then by shapes turned around."""
    pairs = paired(ours, theirs)
    rows = tuple(
        OutputPair(ours[one][0], theirs[two][0], _apart(ours[one][1], theirs[two][1], order), order)
        for one, two, order in pairs
    )
    left = [name for place, (name, _) in enumerate(ours) if place not in {one for one, _, _ in pairs}]
    right = [name for place, (name, _) in enumerate(theirs) if place not in {two for _, two, _ in pairs}]
    same = all(row.apart.same for row in rows) if rows else None
    return Outputs(same, furthest(row.apart for row in rows), rows, tuple(left), tuple(right))


def paired(ours: Named, theirs: Named) -> list[tuple[int, int, tuple[int, ...] | None]]:
    """The places of the results that belong together, and how the dimensions of the second have to be turned."""
    pairs: dict[int, tuple[int, tuple[int, ...] | None]] = {}

    def free() -> Iterator[tuple[int, int]]:
        for one in range(len(ours)):
            for two in range(len(theirs)):
                if one not in pairs and two not in {other for other, _ in pairs.values()}:
                    yield one, two

    def take(wanted: object) -> None:
        for one, two in list(free()):
            if one in pairs or two in {other for other, _ in pairs.values()}:
                continue
            order = wanted(one, two)  # type: ignore[operator]
            if order is not False:
                pairs[one] = two, order or None

    def by_name(one: int, two: int) -> object:
        same = _name(ours[one][0]) == _name(theirs[two][0])
        return _order(ours[one][1], theirs[two][1]) if same else False

    def by_numbers(one: int, two: int) -> object:
        a, b = ours[one][1], theirs[two][1]
        return () if a.shape == b.shape and _is_near(distance_of_tensors(a, b)) else False

    def by_shape(one: int, two: int) -> object:
        return () if ours[one][1].shape == theirs[two][1].shape else False

    def by_turned_shape(one: int, two: int) -> object:
        return _order(ours[one][1], theirs[two][1])

    for wanted in (by_name, by_numbers, by_shape, by_turned_shape):
        take(wanted)
    return sorted((one, two, order) for one, (two, order) in pairs.items())


def _is_near(distance: Distance) -> bool:
    return distance.same or (distance.relative is not None and distance.relative < NEAR)


def turned(tensor: Tensor, order: tuple[int, ...] | None) -> Tensor:
    """The tensor with its dimensions in another order."""
    return tensor if order is None else tensor.permute(order)


def _name(name: str) -> str:
    """A result without a name is the first of those that a tuple gives."""
    return name or "[0]"


def _order(one: Tensor, two: Tensor) -> tuple[int, ...] | bool:
    """The order of the second's dimensions that gives the shape of the first, the nearest; False if none does."""
    if one.shape == two.shape:
        return ()
    if one.dim() != two.dim() or sorted(one.shape) != sorted(two.shape) or one.dim() > MOST_DIMENSIONS:
        return False
    orders = [order for order in itertools.permutations(range(one.dim())) if two.permute(order).shape == one.shape]
    apart = {order: _apart(one, two, order) for order in orders}
    return min(orders, key=lambda order: (not apart[order].same, apart[order].absolute or 0.0))


def _apart(one: Tensor, two: Tensor, order: tuple[int, ...] | None) -> Distance:
    return distance_of_tensors(one, turned(two, order))
