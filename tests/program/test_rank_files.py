"""The files of several ranks, without the ranks: whose they are, what an earlier run left, who is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdtrace.program import rank_files
from fwdtrace.program.rank_files import RankFiles, Ranks, ranks_of


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_a_rank_begins_without_what_an_earlier_run_left_of_it_and_of_nothing_else(tmp_path: Path) -> None:
    others = ("t.json", "t.rank1.json", "t.rank10.json", "t.rank0.trace.json", "t.rank0.html", "s.rank0.json")
    touched(tmp_path, "t.rank0.json", "t.rank0.call2.json", "t.rank0.Critic.json", *others)
    files = RankFiles("t", ".json", tmp_path)
    assert files.begin(0) == tmp_path / "t.rank0.json"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([".t.rank0.running", *others])
    files.end(0)
    files.end(0)
    assert not (tmp_path / ".t.rank0.running").exists()


def test_the_files_of_a_rank_are_named_without_it_the_first_one_first(tmp_path: Path) -> None:
    touched(tmp_path, "t[1].rank2.call2.json", "t[1].rank2.json", "t[1].rank2.Critic.json")
    found = RankFiles("t[1]", ".json", tmp_path).of(2)
    assert list(found) == ["t[1]", "t[1].Critic", "t[1].call2"]
    assert found["t[1].call2"].name == "t[1].rank2.call2.json"


def test_a_rank_that_runs_on_is_waited_for_and_then_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_files, "WAIT_FOR_RANKS", 0.2)
    files = RankFiles("t", ".json", tmp_path)
    for rank in (0, 1, 2):
        touched(tmp_path, files.begin(rank).name)
    files.end(0)
    files.end(2)
    assert files.wait(3) == [1]
    files.end(1)
    assert files.wait(3) == []
    assert files.wait(4) == []  # the fourth kept no call


def test_the_place_of_a_process_is_what_torchrun_says() -> None:
    assert ranks_of({}) is None
    assert ranks_of({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert ranks_of({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}) == Ranks(5, 4)
