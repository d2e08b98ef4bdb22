"""Tensors of which each rank has a part are put together, also where the parts are uneven, strided or sums."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from fwdtrace.compare.assembled import AssembledValues, _assembled
from fwdtrace.compare.pieces import Piece, of_mesh, ranks_of_elements

WHOLE = numpy.arange(30.0, dtype="f4").reshape(10, 3)


def pieces(arrays: list[Any], placements: tuple[str, ...] = (), mesh: tuple[int, ...] = ()) -> list[Piece]:
    """What each rank has, in the order of the ranks; the last dimension of the mesh is the innermost."""
    found = []
    for rank, array in enumerate(arrays):
        values = AssembledValues()
        number = values.add(lambda array=array: array, list(array.shape), "float32")  # type: ignore[misc]
        about = dict(values.about(number))
        if placements:
            at = [int(place) for place in numpy.unravel_index(rank, mesh)]
            about["placed"] = {"placements": list(placements), "shape": [10, 3], "mesh": list(mesh), "at": at}
        found.append(Piece(values, number, about))
    return found


def placed(arrays: list[Any], placements: tuple[str, ...], mesh: tuple[int, ...]) -> Any:
    return of_mesh(pieces(arrays, placements, mesh))


def test_uneven_shards_and_an_empty_one() -> None:
    assert numpy.array_equal(placed([WHOLE[:4], WHOLE[4:8], WHOLE[8:], WHOLE[10:]], ("Shard(dim=0)",), (4,)), WHOLE)
    assert numpy.array_equal(placed([WHOLE[:, :2], WHOLE[:, 2:]], ("Shard(dim=1)",), (2,)), WHOLE)


def test_a_replica_is_taken_once_and_a_part_of_a_sum_is_added_up() -> None:
    assert numpy.array_equal(placed([WHOLE, WHOLE], ("Replicate()",), (2,)), WHOLE)
    assert numpy.array_equal(placed([WHOLE * 0.25, WHOLE * 0.75], ("Partial(sum)",), (2,)), WHOLE)
    assert numpy.array_equal(placed([WHOLE * 0.5, WHOLE * 1.5], ("Partial(avg)",), (2,)), WHOLE)


def test_two_dimensions_of_a_mesh() -> None:
    halves = [WHOLE[:5], WHOLE[5:]]
    quarters = [half[:, columns] for half in halves for columns in (slice(0, 2), slice(2, 3))]
    assert numpy.array_equal(placed(quarters, ("Shard(dim=0)", "Shard(dim=1)"), (2, 2)), WHOLE)
    nested = [half[rows] for half in halves for rows in (slice(0, 3), slice(3, 5))]
    assert numpy.array_equal(placed(nested, ("Shard(dim=0)", "Shard(dim=0)"), (2, 2)), WHOLE)
    strided = [halves[inner][rows] for rows in (slice(0, 3), slice(3, 5)) for inner in (0, 1)]
    assert numpy.array_equal(placed(strided, ("_StridedShard(dim=0, sf=2)", "Shard(dim=0)"), (2, 2)), WHOLE)


def test_each_element_of_a_shard_is_known_to_be_on_its_rank() -> None:
    found = ranks_of_elements(pieces([WHOLE[:4], WHOLE[4:]], ("Shard(dim=0)",), (2,)))
    assert found[:, 0].tolist() == [0] * 4 + [1] * 6


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ([WHOLE, WHOLE], WHOLE),
        ([WHOLE * 0.25, WHOLE * 0.75], WHOLE),
        ([WHOLE * 0.5, WHOLE * 1.5], WHOLE),
        ([WHOLE[:, :1], WHOLE[:, 1:]], WHOLE),
        ([WHOLE * 3, WHOLE * 5], WHOLE * 3),
        ([WHOLE[:4], WHOLE[4:9]], None),
    ],
)
def test_of_other_tensors_the_run_of_one_process_decides(arrays: list[Any], expected: Any) -> None:
    values = AssembledValues()
    number = _assembled(values, pieces([WHOLE])[0], pieces(arrays), None, [], None)
    if expected is None:
        assert number is None
    else:
        assert number is not None and numpy.array_equal(values.array(number), expected.reshape(-1))
