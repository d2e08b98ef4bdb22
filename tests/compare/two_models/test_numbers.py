"""The numbers kept in memory and those saved in a file are as far apart, whichever of the two are measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fwdtrace.compare.agreement import Distances
from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, SAME, Distance
from fwdtrace.compare.numbers.tensors import distance_of_tensors
from fwdtrace.compare.programs.saved_numbers import SavedValues, measure, save_values
from fwdtrace.compare.two_models import kept_numbers
from fwdtrace.compare.two_models.kept_numbers import KeptNumbers
from fwdtrace.recorder.measures.keeper import Kept, digest_of
from fwdtrace.recorder.measures.values import stats_of
from tests.helpers.traces import call

CALL = call(7, None, "", "Net")
ROW = torch.tensor([1.0, 0.0, -2.0])


def kept(tensor: Tensor, *, whole: bool = True) -> Kept:
    return Kept(tuple(tensor.shape), tensor.dtype, tensor if whole else None, digest_of(tensor), stats_of(tensor))


def both_ways(folder: Path, one: Kept, other: Kept) -> Distance | None:
    """How far two outputs are apart: in memory and from files, which must be the same."""
    numbers = [{CALL.id: ((), (tensor,))} for tensor in (one, other)]
    for number, name in zip(numbers, "ab", strict=True):
        save_values(number, folder / f"{name}.safetensors")
    saved = [SavedValues(folder / f"{name}.safetensors") for name in "ab"]
    in_memory = KeptNumbers(*numbers).distances_of(CALL, CALL)
    assert measure(*saved, CALL, CALL) == in_memory
    assert in_memory[0] is None
    return in_memory[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("change", [0.0, 1e-7, 0.01, 3.0, math.nan, math.inf])
def test_one_other_element_is_as_far_away_in_memory_as_in_files(
    tmp_path: Path, dtype: torch.dtype, change: float
) -> None:
    one = torch.randn(50, generator=torch.Generator().manual_seed(0)).to(dtype)
    other = one.clone()
    other[3] += change
    found = both_ways(tmp_path, kept(one), kept(other))
    assert found is not None and found.same == torch.equal(one, other)
    if not math.isfinite(change):
        assert found == NOT_COMPARABLE


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (ROW, torch.tensor([1.0, -0.0, -2.0]), Distance(0.0, 0.0, 0, False, True)),
        (ROW, ROW.double(), Distance(0.0, 0.0, None, False, True)),
        (torch.tensor([2**60]), torch.tensor([2**60 + 1]), Distance(1.0, 2.0**-60, None, False, False)),
        (torch.tensor([True, False]), torch.tensor([True, True]), Distance(1.0, 1.0, None, False, False)),
        (torch.tensor([math.nan, 1.0]), torch.tensor([math.nan, 1.0]), SAME),
        (torch.empty(0, 3), torch.empty(0, 3), SAME),
        (torch.empty(0, 3), torch.empty(0, 3).double(), Distance(0.0, None, None, False, True)),
        (ROW, torch.ones(4), None),
    ],
)
def test_odd_tensors_are_as_far_apart_in_memory_as_in_files(
    tmp_path: Path, one: Tensor, other: Tensor, found: Distance | None
) -> None:
    assert both_ways(tmp_path, kept(one), kept(other)) == found


def test_tensors_known_by_digest_are_as_far_apart_as_their_statistics(tmp_path: Path) -> None:
    one, same, other = (kept(tensor, whole=False) for tensor in (ROW, ROW.clone(), torch.tensor([1.0, 0.0, -4.0])))
    assert both_ways(tmp_path, one, same) == SAME
    found = both_ways(tmp_path, one, other)
    assert found is not None and (found.absolute, found.ulp, found.close) == (2.0, None, False)
    nothing = Kept((3,), torch.float32, None, b"x", None)
    assert both_ways(tmp_path, one, nothing) == NOT_COMPARABLE


def test_a_call_that_only_one_run_has_and_another_number_of_tensors_are_not_known() -> None:
    numbers = KeptNumbers({7: ((), (kept(ROW),))}, {7: ((), (kept(ROW), kept(ROW))), 8: ((), ())})
    assert numbers.distances_of(CALL, CALL) == (None, None)
    assert numbers.distances_of(CALL, call(9, None, "", "Net")) == (None, None)


def test_of_a_port_the_tensors_that_both_give_are_compared() -> None:
    sides: list[Any] = [{7: ((), (None, kept(ROW)))}, {7: ((), (kept(ROW), kept(ROW + 1)))}]
    found: Distances = KeptNumbers(*sides, is_port=True).distances_of(CALL, CALL)
    assert found == (None, SAME)


def test_of_a_larger_batch_the_first_examples_are_compared() -> None:
    one, other = kept(ROW[None]), kept(torch.stack([ROW, ROW + 1]))
    sides: list[Any] = [{7: ((), (one,))}, {7: ((), (other,))}]
    assert KeptNumbers(*sides).distances_of(CALL, CALL) == (None, None)
    assert KeptNumbers(*sides, batch=2).distances_of(CALL, CALL) == (None, SAME)


def test_tensors_of_several_calls_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[Tensor, Tensor]] = []

    def measure_and_note(one: Tensor, other: Tensor) -> Distance:
        measured.append((one, other))
        return distance_of_tensors(one, other)

    monkeypatch.setattr(kept_numbers, "distance_of_tensors", measure_and_note)
    one, other = kept(ROW), kept(ROW + 1)
    numbers = KeptNumbers({7: ((), (one,)), 8: ((one,), (one,))}, {7: ((), (other,)), 8: ((other,), (other,))})
    next_call = call(8, None, "", "Net")
    (_, gave), both = numbers.distances_of(CALL, CALL), numbers.distances_of(next_call, next_call)
    assert both == (gave, gave)
    assert len(measured) == 1
