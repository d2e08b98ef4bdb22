"""Two saved traces -> TraceComparison, numbers included where they were saved too. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fwdtrace.compare import How, compare_traces
from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.saved_numbers import measure, measure_by_stats, values_of
from fwdtrace.compare.verdict import has_stats
from fwdtrace.errors import FwdtraceError
from fwdtrace.trace.read import load_trace


def compare_saved(file: str, other_file: str, maps: Sequence[str] = ()) -> TraceComparison:
    """Compare the traces in two `.json` files; `maps` are `OLD=NEW`, from the names of the first to the second's.

    FwdtraceError if a file cannot be read, a map is wrong, or neither trace has a call.
    """
    before, after = load_trace(file), load_trace(other_file)
    if not before.calls and not after.calls:
        raise FwdtraceError(f"compare {file} {other_file}: neither holds a call, so there is nothing to compare")
    values, other_values = values_of(before, file), values_of(after, other_file)
    if values and other_values:
        how = How(tuple(maps), contents=(values.summaries, other_values.summaries))
        return compare_traces(before, after, how, partial(measure, values, other_values))
    if values or other_values:
        one, without = (file, after) if values else (other_file, before)
        only = f"values were saved with {one} only"
        compared = "; their statistics were compared with those in the other trace" if has_stats(without) else ""
        distances = partial(measure_by_stats, values, other_values)
        return compare_traces(before, after, How(tuple(maps), notes=(only + compared,)), distances)
    return compare_traces(before, after, How(tuple(maps)))
