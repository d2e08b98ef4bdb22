"""What is said of the ranks of a program: which calls and shapes differ, which rank is slow, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace.program import rank_files
from fwdtrace.program.rank_files import RankFiles, Ranks
from fwdtrace.program.ranks import compare_ranks, rank_differences
from fwdtrace.trace import Call, CallError, Finding, Site, Trace
from tests.helpers.traces import call, trace


def net(*calls: Call, shape: tuple[int, ...] = (1, 16), milliseconds: float = 1.0) -> Trace:
    """A trace of Net that gives a tensor of this shape."""
    return trace(call(0, None, "", "Net", (1, 16), shape, duration_us=milliseconds * 1000), *calls)


def test_ranks_that_do_the_same_are_told_in_a_line() -> None:
    traces = {rank: {"t": net(milliseconds=rank + 1)} for rank in range(3)}
    assert rank_differences(traces) == [
        "3 ranks made the same calls with the same shapes",
        "time: 1.0 ms on rank 0 … 3.0 ms on rank 2",
    ]


def test_other_shapes_calls_entries_and_errors_are_named() -> None:
    base = net(call(1, 0, "a", "Linear"), call(2, 0, "a", "Linear", nth=2), call(3, 0, "b", "Linear"))
    other = net(
        *(call(1, 0, "a", "Linear", entry="forward"), call(3, 0, "b", "Linear", error=CallError("ValueError", "no"))),
        call(4, 0, None, "ReLU"),
        shape=(2, 16),
    )
    assert rank_differences({0: {"t": base}, 1: {"t": other}, 2: {"t": base}})[:-1] == [
        "rank 1: no call a #2, which rank 0 made",
        "rank 1: Net output 2×16, on rank 0 1×16",
        "rank 1: a entered by forward, on rank 0 by __call__",
        "rank 1: b output no tensor, on rank 0 1×16",
        "rank 1: b raised ValueError",
        "rank 1: 1 more difference from rank 0",
        "like rank 0: 2",
    ]


def test_each_part_is_compared_with_the_lowest_rank_that_has_it() -> None:
    lines = rank_differences({0: {"t": net()}, 1: {"t": net(), "t.Critic": net()}, 2: {}})
    assert lines == [
        "rank 2: no trace was found",
        "t: 2 ranks made the same calls with the same shapes",
        "t: time: 1.0 ms on rank 0 … 1.0 ms on rank 0",
        "t.Critic: rank 0: no such call was kept",
    ]


def test_a_rank_without_an_event_is_said_to_have_none() -> None:
    event = replace(net(), run=replace(net().run, event="nonfinite", rank=1))
    assert rank_differences({0: {}, 1: {"t": event}}) == ["rank 0: no event"]


def test_saved_files_are_compared_and_what_is_late_or_broken_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_files, "WAIT_FOR_RANKS", 0.0)
    files = RankFiles("t", ".json", tmp_path)
    net().save(files.begin(0))
    files.end(0)
    files.begin(1).write_text("{", encoding="utf-8")
    report = compare_ranks(files, Ranks(0, 2))
    assert report.traces == {tmp_path / "t.rank0.json": net()}
    assert report.lines[0] == "rank 1 has not ended; this is what it has made so far"
    assert "t.rank1.json" in report.lines[1]
    assert report.lines[2:] == ("rank 1: no trace was found",)


def test_files_of_another_format_are_not_compared(tmp_path: Path) -> None:
    report = compare_ranks(RankFiles("t", ".html", tmp_path), Ranks(0, 2))
    assert report.lines == ("where the ranks differ is said for .json files alone",)


def test_what_is_not_finite_on_another_rank_is_said_once() -> None:
    def found(message: str, line: int) -> Trace:
        site = Site("/home/me/train.py", line, "forward", "")
        return replace(net(), findings=(Finding("FT005", "non-finite", 0, message, site),))

    lines = rank_differences({0: {"": found("from elsewhere", 9)}, 1: {"": found("/ made 1 NaN", 3)},
                              2: {"": found("from elsewhere", 9)}, 3: {"": found("/ made 1 NaN", 3)}})  # fmt: skip
    assert lines[1:-1] == ["rank 1: FT005 train.py:3: / made 1 NaN"]
