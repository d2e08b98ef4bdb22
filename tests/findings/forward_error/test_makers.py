"""The layers that chose a size, in traces written by hand: behind views, permutations and joins."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fwdtrace.findings.forward_error.makers import makers_of_size
from fwdtrace.trace import Op, Shape
from tests.helpers.crashes import ran, root, tensor, trace_of


def makers(*shapes: Shape, dimension: int, wanted: int, op: str = "Tensor.reshape") -> list[tuple[str, str, int]]:
    """Those of a size of the last shape, after ops that gave one shape after the other of what a linear layer gave."""
    first = ran(1, "fc", "Linear", (2, 5), shapes[0])
    ops = tuple(
        Op(number, 0, op, (tensor("0", *given, source=number - 1),), (tensor("", *gave, source=number),))
        for number, (given, gave) in enumerate(pairwise(shapes), 2)
    )
    leaf = tensor("x", *shapes[-1], source=len(shapes))
    trace = trace_of(root("RuntimeError", "", raised_below=True), first, ops=ops)
    return list(makers_of_size(trace, leaf, dimension, wanted))


@pytest.mark.parametrize(
    ("shapes", "dimension", "wanted", "features"),
    [
        (((2, 7, 48),), -1, 32, 32),
        (((2, 7, 48), (2, 7, 3, 16)), 2, 2, 32),  # split
        (((2, 7, 48), (2, 7, 3, 16)), 3, 8, 24),
        (((2, 7, 48), (2, 7, 3, 16), (2, 3, 7, 16)), 1, 2, 32),  # and turned
        (((3, 7, 48), (3, 7, 3, 16), (3, 3, 7, 16)), 1, 2, 32),  # and turned, for as many examples
        (((2, 7, 48), (2, 7, 3, 16), (2, 3, 7, 16), (2, 3, 2, 7, 16), (2, 6, 7, 16)), 1, 4, 32),  # and repeated
        (((2, 7, 48), (2, 336)), 1, 224, 32),  # merged
        (((2, 7, 48), (2, 1, 7, 48)), 3, 32, 32),
    ],
)
def test_what_the_layer_has_to_give_follows_from_the_size_that_is_wanted(
    shapes: tuple[Shape, ...], dimension: int, wanted: int, features: int
) -> None:
    assert makers(*shapes, dimension=dimension, wanted=wanted) == [("fc", "out_features", features)]


@pytest.mark.parametrize(
    ("shapes", "dimension", "wanted"),
    [
        (((2, 7, 48), (2, 7, 3, 16)), 1, 9),  # the length is not what the layer chose
        (((2, 7, 48), (2, 336)), 1, 300),  # no multiple of the length
    ],
)
def test_a_size_that_no_layer_can_give_has_no_maker(shapes: tuple[Shape, ...], dimension: int, wanted: int) -> None:
    assert makers(*shapes, dimension=dimension, wanted=wanted) == []


def test_a_sum_of_joined_parts_is_the_size_of_none_of_them() -> None:
    assert makers((2, 24), (2, 48), dimension=1, wanted=32, op="torch.cat") == []
