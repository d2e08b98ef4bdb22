"""Saved traces of one process against those of many, or of many against many -> TraceComparison."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fwdtrace.compare import How
from fwdtrace.compare.comparison import Origin, TraceComparison
from fwdtrace.compare.programs.program_steps import compare_programs
from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_numbers import check_digests
from fwdtrace.compare.ranks.ranked import compare_with_ranks
from fwdtrace.compare.ranks.together import together
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.saved_calls import calls_of_program, loaded_side
from fwdtrace.trace.head import read_head
from fwdtrace.trace.text import listed

_PASSES = ("weights", "forward", "backward")


def is_of_ranks(name: str) -> bool:
    """Whether a name is a pattern of several files, those of the ranks of a program."""
    return any(letter in name for letter in "*?[") and not Path(name).exists()


def compare_ranks(file: str, other_file: str, maps: Sequence[str] = ()) -> TraceComparison:
    """Compare one process with all ranks of a program together, or the ranks of two programs.

    Those are compared one by one if there are as many of both and they hold the same parts, else all together with all
    together. FwdtraceError if a file cannot be read or holds no numbers.
    """
    ours, theirs = _files(file), _files(other_file)
    if len(ours) == len(theirs) and _hold_the_same_parts(ours[0], theirs[0]):
        return _rank_by_rank(ours, theirs, maps)
    notes: tuple[str, ...] = ()
    if len(theirs) == 1:
        ours, theirs = theirs, ours
        notes = ("the process that is alone was taken as the first",)
    notes += tuple(_fewer_calls(theirs))
    if len(ours) > 1:
        notes += (
            f"the {len(ours)} ranks of the first were put together, and compared with the {len(theirs)} together",
        )
    return compare_with_ranks(_steps(ours, theirs), How(tuple(maps), notes=notes))


def _fewer_calls(files: Sequence[str]) -> Iterator[str]:
    """The ranks that have not saved a call that others have."""
    calls = [set(calls_of_program(file)) for file in files]
    for rank, own in enumerate(calls):
        missing = sorted(set().union(*calls) - own)
        if missing:
            yield f"rank {rank} has no {listed([f'call {number:,}' for number in missing])}, which others have"


def _hold_the_same_parts(file: str, other_file: str) -> bool:
    """Whether two ranks have parameters and buffers of the same names and shapes."""
    shapes = [
        {name: side.values.about(held.tensor)["shape"] for name, held in side.step.state.items()}
        for side in map(loaded_side, (file, other_file))
    ]
    return all(shapes[1].get(name, shape) == shape for name, shape in shapes[0].items())


def _rank_by_rank(ours: Sequence[str], theirs: Sequence[str], maps: Sequence[str]) -> TraceComparison:
    """The comparison of the rank that parts in the earliest call, with its rank in the verdict."""
    found = []
    for rank, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        sides = ((first, others[0]) for first, others in _steps([one], [other]))
        found.append((rank, compare_programs(sides, How(tuple(maps)))))
    apart = [(rank, each) for rank, each in found if not each.equal]
    if not apart:
        return found[0][1]
    rank, first = min(apart, key=lambda pair: _when(pair[1].origin))
    return replace(first, verdict=f"Rank {rank}: {first.verdict}")


def _when(origin: Origin | None) -> tuple[int, int]:
    """When two runs part: in which call, and there in the weights before it, in forward or in backward."""
    return (origin.call or 0, _PASSES.index(origin.which)) if origin is not None else (0, 0)


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


def _steps(files: Sequence[str], others: Sequence[str]) -> Iterator[tuple[SavedRun, list[SavedRun]]]:
    """Each call that all have saved, loaded when it is its turn; several files of the first are put together."""
    calls = [calls_of_program(file) for file in (*files, *others)]
    common = sorted(set(calls[0]).intersection(*calls[1:]))
    each = [[mine[number] for mine in calls] for number in common] or [[*files, *others]]
    for step in each:
        sides = list(map(loaded_side, step))
        check_digests(side.values for side in sides)
        first = sides[0] if len(files) == 1 else together(sides[: len(files)])
        yield first, sides[len(files) :]
