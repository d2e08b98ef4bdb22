"""Where the ranks of a program differ is seen in their files, and hundreds of them are looked at in seconds."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace.compare.ranks.ranks import Kind, RankFinding, RanksView, Slow, view_of_ranks
from fwdtrace.errors import TraceFileError
from fwdtrace.trace import Finding, Trace, Value
from tests.helpers.growth import takes_at_most
from tests.helpers.traces import call, trace


def net(shape: tuple[int, ...] = (1, 16), us: float = 100.0, slow: float = 0.0) -> Trace:
    return trace(
        call(0, None, "", "Net", (1, 16), shape, duration_us=us + slow),
        call(1, 0, "a", "Linear", duration_us=10.0),
        call(2, 0, "b", "Linear", duration_us=10.0 + slow),
    )


def view(folder: Path, traces: dict[int, Trace], processes: int | None = None) -> RanksView:
    for rank, found in traces.items():
        around = (Value("processes", str(processes)),) if processes else ()
        replace(found, run=replace(found.run, rank=rank, around=around)).save(folder / f"t.rank{rank}.json")
    return view_of_ranks([str(file) for file in folder.glob("t.rank*.json")])


def test_ranks_that_do_otherwise_are_grouped_by_what_they_do(tmp_path: Path) -> None:
    found = view(tmp_path, {rank: net((2, 16)) if rank in (3, 11) else net(us=100.0 + rank) for rank in range(12)})
    [part] = found.parts
    assert part.kinds == (
        Kind((*range(3), *range(4, 11))),
        Kind((3, 11), ("Net output 2×16, on rank 0 1×16",)),
    )
    assert (part.name, part.ranks, part.missing, part.slow) == ("t.json", tuple(range(12)), (), ())
    assert part.fastest == (0, 100.0) and part.slowest == (10, 110.0)


def test_a_slow_rank_is_named_with_the_call_that_takes_the_time(tmp_path: Path) -> None:
    found = view(tmp_path, {rank: net(slow=50.0 if rank == 2 else 0.0) for rank in range(5)})
    assert found.parts[0].slow == (Slow(2, 150.0, 1.5, "b", 50.0),)


def test_ranks_without_a_file_and_files_that_are_no_traces_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.rank4.json").write_text("{")
    found = view(tmp_path, {0: net(), 1: net(), 3: net()}, processes=6)
    assert found.parts[0].missing == (2, 4, 5)
    assert len(found.problems) == 1 and "t.rank4.json is cut short" in found.problems[0]


def test_a_finding_that_some_ranks_alone_have_is_named(tmp_path: Path) -> None:
    wrong = replace(net(), findings=(Finding("FT005", "non-finite", 1, "a made NaN"),))
    found = view(tmp_path, {0: net(), 1: wrong, 2: wrong})
    assert found.parts[0].findings == (RankFinding((1, 2), "FT005", "a made NaN"),)


def test_each_model_and_call_is_a_part(tmp_path: Path) -> None:
    for rank in (0, 1):
        replace(net(), run=replace(net().run, rank=rank)).save(tmp_path / f"t.rank{rank}.Critic.json")
    found = view(tmp_path, {0: net(), 1: net()})
    assert sorted((part.name, part.ranks) for part in found.parts) == [("t.Critic.json", (0, 1)), ("t.json", (0, 1))]


def test_files_of_no_rank_are_refused(tmp_path: Path) -> None:
    net().save(tmp_path / "t.json")
    with pytest.raises(TraceFileError, match=r"t\.json is of no rank"):
        view_of_ranks([str(tmp_path / "t.json")])


@pytest.mark.parametrize(
    "number", [pytest.param(200, marks=pytest.mark.sweep), pytest.param(2000, marks=pytest.mark.long)]
)
def test_256_ranks_of_many_calls_are_looked_at_as_fast_as_they_are_read(number: int, tmp_path: Path) -> None:
    calls = [call(0, None, "", "Net", duration_us=1.0)]
    calls += [call(id, 0, f"layers.{id}", "Linear", (8, 64), (8, 64), duration_us=1.0) for id in range(1, number)]
    trace(*calls).save(tmp_path / "base.json")
    pieces = (tmp_path / "base.json").read_text().split('"duration_us": 1.0')
    chance = random.Random(0)
    for rank in range(256):
        text = "".join(f'{piece}"duration_us": {chance.random():.4f}' for piece in pieces[:-1]) + pieces[-1]
        (tmp_path / f"t.rank{rank}.json").write_text(text.replace('"rank": null', f'"rank": {rank}'))
    found: list[RanksView] = []
    files = list(tmp_path.glob("t.rank*.json"))
    assert takes_at_most(
        10,
        lambda: found.append(view_of_ranks([str(file) for file in files])),
        lambda: [json.loads(file.read_text()) for file in files],
    )
    assert [len(kind.ranks) for kind in found[0].parts[0].kinds] == [256]
