"""Saved traces of one process against those of many, or of many against many -> TraceComparison."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fwdtrace.compare import How
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.program_steps import compare_programs
from fwdtrace.compare.ranked import compare_with_ranks
from fwdtrace.compare.saved_backward import Side
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.saved_calls import calls_of_program, loaded_side
from fwdtrace.trace.head import read_head


def is_of_ranks(name: str) -> bool:
    """Whether a name is a pattern of several files, those of the ranks of a program."""
    return any(letter in name for letter in "*?[") and not Path(name).exists()


def compare_ranks(file: str, other_file: str, maps: Sequence[str] = ()) -> TraceComparison:
    """Compare one process with all ranks of a program, or the ranks of two programs, one of each with its like.

    FwdtraceError if a file cannot be read, holds no numbers, or there are not as many ranks on both sides.
    """
    ours, theirs = _files(file), _files(other_file)
    if len(ours) == len(theirs):
        return _rank_by_rank(ours, theirs, maps)
    if len(theirs) == 1:
        raise FwdtraceError(
            f"compare {file} {other_file}: give the process that is alone first, then those of the ranks"
        )
    if len(ours) > 1:
        numbers = f"{len(ours)} and {len(theirs)} ranks"
        raise FwdtraceError(f"compare {file} {other_file}: {numbers}; compare each with a run of one process")
    return compare_with_ranks(_steps(ours[0], theirs), How(tuple(maps)))


def _rank_by_rank(ours: Sequence[str], theirs: Sequence[str], maps: Sequence[str]) -> TraceComparison:
    """The comparison of the rank that parts in the earliest call, with its rank in the verdict."""
    found = []
    for rank, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        sides = ((first, others[0]) for first, others in _steps(one, [other]))
        found.append((rank, compare_programs(sides, How(tuple(maps)))))
    apart = [(rank, each) for rank, each in found if not each.equal]
    if not apart:
        return found[0][1]
    rank, first = min(apart, key=lambda pair: (pair[1].origin.call or 0) if pair[1].origin is not None else 0)
    return replace(first, verdict=f"Rank {rank}: {first.verdict}")


def _files(name: str) -> list[str]:
    """The first files of all ranks, in the order of the ranks; the name itself if it is no pattern."""
    if not is_of_ranks(name):
        return [name]
    ranks: dict[int, str] = {}
    for file in sorted(glob.glob(name), key=len):  # further calls and models have longer names
        head = read_head(file)
        if head is not None and head.run.rank is not None:
            ranks.setdefault(head.run.rank, file)
    if not ranks:
        raise FwdtraceError(
            f"{name}: there is no trace of a rank of that name; `fwdtrace exec` under torchrun saves them"
        )
    return [ranks[rank] for rank in sorted(ranks)]


def _steps(file: str, others: Sequence[str]) -> Iterator[tuple[Side, list[Side]]]:
    """Each call that all have saved, loaded when it is its turn."""
    ours, theirs = calls_of_program(file), [calls_of_program(other) for other in others]
    common = sorted(set(ours).intersection(*theirs))
    if not common:
        yield loaded_side(file), [loaded_side(other) for other in others]
    for number in common:
        yield loaded_side(ours[number]), [loaded_side(calls[number]) for calls in theirs]
