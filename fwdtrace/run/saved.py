"""Two saved traces -> TraceComparison, numbers included where they were saved too. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from fwdtrace.compare import How, compare_traces
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.programs.program_steps import compare_programs
from fwdtrace.compare.programs.saved_backward import SavedRun
from fwdtrace.compare.programs.saved_numbers import check_digests, measure_by_stats, values_of
from fwdtrace.compare.programs.unwrapped import EXPECTED_OF_COMPILED, is_compiled
from fwdtrace.compare.ranks.ranked import compare_with_ranks
from fwdtrace.compare.verdict import has_stats
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.saved_calls import calls_by_step, calls_of_program, loaded_side, side_of
from fwdtrace.run.saved_ranks import compare_ranks, is_of_ranks
from fwdtrace.trace.read import load_trace
from fwdtrace.trace.text import listed


def compare_saved(file: str, other_file: str, maps: Sequence[str] = ()) -> TraceComparison:
    """Compare the traces in two `.json` files; `maps` are `OLD=NEW`, from the names of the first to the second's.

    If both are the first of several that one program saved of a model, each call is compared with the call of the same
    number. FwdtraceError if a file cannot be read, a map is wrong, or neither trace has a call.
    """
    if is_of_ranks(file) or is_of_ranks(other_file):
        return compare_ranks(file, other_file, maps)
    before, after = load_trace(file), load_trace(other_file)
    if not before.calls and not after.calls:
        raise FwdtraceError(f"compare {file} {other_file}: neither holds a call, so there is nothing to compare")
    values, other_values = values_of(before, file), values_of(after, other_file)
    if values and other_values:
        check_digests((values, other_values))
        by_step = _by_step(file, other_file)
        if by_step is not None:
            return compare_with_ranks(by_step[0], How(tuple(maps), notes=by_step[1]), calls=True)
        first = side_of(before, values), side_of(after, other_values)
        files, notes = _steps(file, other_file)
        compiled = is_compiled(before) != is_compiled(after)
        how = How(tuple(maps), EXPECTED_OF_COMPILED if compiled else frozenset(), notes=notes)
        return compare_programs(_loaded(first, files), how)
    if values or other_values:
        one, without = (file, after) if values else (other_file, before)
        only = f"values were saved with {one} only"
        compared = "; their statistics were compared with those in the other trace" if has_stats(without) else ""
        distances = partial(measure_by_stats, values, other_values)
        return compare_traces(before, after, How(tuple(maps), notes=(only + compared,)), distances)
    return compare_traces(before, after, How(tuple(maps)))


def _by_step(file: str, other_file: str) -> tuple[Iterator[tuple[SavedRun, list[SavedRun]]], tuple[str, ...]] | None:
    """The steps of two programs, if one makes a step of one call, and the other of several; and a note on it."""
    ours, theirs = (calls_by_step(calls_of_program(each)) for each in (file, other_file))
    pairs = list(zip(ours, theirs, strict=False))
    sizes = {(len(one), len(other)) for one, other in pairs}
    if len(sizes) != 1:
        return None
    one, other = sizes.pop()
    if (one == 1) == (other == 1):
        return None
    which = "second" if other > 1 else "first"
    note = f"a step of the {which} has {max(one, other)} calls, which were put together along their examples"
    if one > 1:
        note += "; the second was taken as the one to compare with"
    steps = ((pair if other > 1 else pair[::-1]) for pair in pairs)
    return ((loaded_side(alone[0]), list(map(loaded_side, several))) for alone, several in steps), (note,)


def _steps(file: str, other_file: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """The further calls that both programs have saved, in pairs, and a note on those that only one has."""
    ours, theirs = calls_of_program(file), calls_of_program(other_file)
    common = sorted(ours.keys() & theirs.keys())
    if not common or ours[common[0]] != file or theirs[common[0]] != other_file:
        return [], ()
    alone = sorted(ours.keys() ^ theirs.keys())
    calls = listed([f"call {number:,}" for number in alone])
    note = (f"only one side has {calls}, which was not compared",) if alone else ()
    return [(ours[number], theirs[number]) for number in common[1:]], note


def _loaded(first: tuple[SavedRun, SavedRun], files: Sequence[tuple[str, str]]) -> Iterator[tuple[SavedRun, SavedRun]]:
    """The sides of each step, one step at a time."""
    yield first
    for pair in files:
        yield loaded_side(pair[0]), loaded_side(pair[1])
