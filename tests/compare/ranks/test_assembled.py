"""Tensors of which each rank has a part are put together, also where the parts are uneven, strided or sums."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_step import SavedStep
from fwdtrace.compare.ranks.assembled import Assembly, _assembled
from fwdtrace.compare.ranks.assembled_values import AssembledValues
from fwdtrace.compare.ranks.examples import Examples
from fwdtrace.compare.ranks.pieces import SAMPLED, RankPiece, of_mesh, sample_of
from fwdtrace.recorder.measures import training_keeper
from fwdtrace.recorder.measures.keeper import Placed
from tests.helpers.traces import trace

WHOLE = numpy.arange(30.0, dtype="f4").reshape(10, 3)


def pieces(arrays: list[Any], placements: tuple[str, ...] = (), mesh: tuple[int, ...] = ()) -> list[RankPiece]:
    """What each rank has, in the order of the ranks; the last dimension of the mesh is the innermost."""
    found = []
    for rank, array in enumerate(arrays):
        values = AssembledValues()
        number = values.add(lambda array=array: array, list(array.shape), "float32")  # type: ignore[misc]
        about = dict(values.about(number))
        if placements:
            at = [int(place) for place in numpy.unravel_index(rank, mesh)]
            about["placed"] = {"placements": list(placements), "shape": [10, 3], "mesh": list(mesh), "at": at}
        found.append(RankPiece(values, number, about))
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


def test_the_sample_of_a_sharded_parameter_is_put_together_and_each_element_known_to_be_on_its_rank() -> None:
    assert SAMPLED == training_keeper.SAMPLED
    whole = torch.arange(3000.0).reshape(60, 50)
    parts = []
    for part, offset in ((whole[:35], (0, 0)), (whole[35:, :20], (35, 0)), (whole[35:, 20:], (35, 20))):
        place = Placed(("Shard(dim=0)",), (60, 50), (3,), (0,), offset)
        sample = training_keeper._sample_of_part(part, place)
        about = {"shape": list(part.shape), "placed": {"shape": [60, 50], "offset": list(offset)}}
        parts.append((about, sample.numpy()))
    found = sample_of(parts)
    assert found is not None
    assert found[0].tolist() == training_keeper._sample(whole).tolist()
    assert found[1].tolist() == [0 if at < 1750 else 1 + (at % 50 >= 20) for at in range(0, 3000, 3)]
    assert sample_of(parts[:2]) is None


def assembly(groups: tuple[tuple[int, ...], ...], rows: tuple[tuple[int, int], ...] | None = None) -> Assembly:
    lengths = tuple(sum(row[0] == number for row in rows or ()) for number in range(len(groups)))
    empty = SavedRun(trace(), AssembledValues(), SavedStep())
    return Assembly(empty, [empty] * sum(map(len, groups)), Examples(groups, rows, lengths))


def test_what_is_cut_by_examples_and_along_another_dimension_is_put_together() -> None:
    rows = tuple((number % 2, number // 2) for number in range(10))
    cut = pieces([WHOLE[at::2, columns] for at in (0, 1) for columns in (slice(0, 2), slice(2, 3))])
    values = AssembledValues()
    number = _assembled(values, pieces([WHOLE])[0], cut, assembly(((0, 1), (2, 3)), rows), None)
    assert number is not None and numpy.array_equal(values.array(number), WHOLE.reshape(-1))


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
    number = _assembled(values, pieces([WHOLE])[0], pieces(arrays), assembly(((0, 1),)), None)
    if expected is None:
        assert number is None
    else:
        assert number is not None and numpy.array_equal(values.array(number), expected.reshape(-1))
