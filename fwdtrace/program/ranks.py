"""Where the traces of the ranks of one program differ: in their calls, in their shapes, in their time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fwdtrace.compare.ranks.rank_differences import differences_of_ranks
from fwdtrace.errors import TraceFileError
from fwdtrace.program.rank_files import RankFiles, Ranks
from fwdtrace.trace import Trace
from fwdtrace.trace.read import load_trace
from fwdtrace.trace.text import plural, site_text

MOST_LINES = 5
"""The most differences of one rank that are listed one by one."""

TracesByPart = Mapping[str, Trace]
"""The traces of one rank by part: what their files are called without the rank, another one for each model or call."""


@dataclass(frozen=True)
class RankReport:
    """What there is to say of the ranks of one machine, as lines, and the traces of all of them by file."""

    lines: tuple[str, ...]
    traces: Mapping[Path, Trace] = field(default_factory=dict)


def compare_ranks(files: RankFiles, ranks: Ranks) -> RankReport:
    """Wait until the ranks of this machine have ended, for some seconds at most, and compare their saved traces."""
    if files.suffix != ".json":
        return RankReport(("where the ranks differ is said for .json files alone",))
    late = files.wait(ranks.near)
    lines = [f"rank {rank} has not ended; this is what it has made so far" for rank in late]
    traces: dict[int, dict[str, Trace]] = {}
    by_file: dict[Path, Trace] = {}
    for rank in range(ranks.near):
        traces[rank] = {}
        for part, file in files.of(rank).items():
            try:
                traces[rank][part] = by_file[file] = load_trace(file)
            except TraceFileError as error:
                lines.append(str(error))
    lines += rank_differences(traces)
    return RankReport(tuple(lines), by_file)


def rank_differences(traces: Mapping[int, TracesByPart]) -> list[str]:
    """Lines that say how the traces of each rank differ from those of the lowest rank that has the same part."""
    events = [trace.run.event for parts in traces.values() for trace in parts.values()]
    nothing = "no event" if events and all(events) else "no trace was found"
    lines = [f"rank {rank}: {nothing}" for rank, parts in traces.items() if not parts]
    reports = {}
    for part in dict.fromkeys(part for parts in traces.values() for part in parts):
        by_rank = {rank: parts[part] for rank, parts in traces.items() if part in parts}
        absent = [rank for rank, parts in traces.items() if parts and part not in parts]
        reports[part] = [f"rank {rank}: no such call was kept" for rank in absent] + _of_part(by_rank)
    for part, report in reports.items():
        lines += report if len(reports) == 1 else [f"{part}: {line}" for line in report]
    return lines


def _of_part(traces: Mapping[int, Trace]) -> list[str]:
    if len(traces) < 2:
        return []
    lines = []
    base = min(traces)
    same = []
    for rank in sorted(set(traces) - {base}):
        differences = list(differences_of_ranks(traces[base], traces[rank], f"rank {base}"))
        lines += [f"rank {rank}: {text}" for text in differences[:MOST_LINES]]
        if len(differences) > MOST_LINES:
            more = plural(len(differences) - MOST_LINES, "more difference")
            lines.append(f"rank {rank}: {more} from rank {base}")
        if not differences:
            same.append(rank)
    if len(same) == len(traces) - 1:
        lines.append(f"{len(traces)} ranks made the same calls with the same shapes")
    elif same:
        lines.append(f"like rank {base}: {', '.join(map(str, same))}")
    lines += _non_finite_elsewhere(traces, base)
    return [*lines, _spread(traces)]


def _non_finite_elsewhere(traces: Mapping[int, Trace], base: int) -> Iterator[str]:
    """Where other ranks say that NaN or infinities came up, as far as the first one does not say the same."""
    said = {(finding.message, finding.site) for finding in traces[base].findings}
    for rank, trace in traces.items():
        for finding in trace.findings:
            if finding.code == "FT005" and (finding.message, finding.site) not in said:
                said.add((finding.message, finding.site))
                where = f" {site_text(finding.site)}" if finding.site else ""
                yield f"rank {rank}: FT005{where}: {finding.message}"


def _spread(traces: Mapping[int, Trace]) -> str:
    """The fastest and the slowest rank, by the time in their outermost calls."""
    times = {
        rank: sum(call.duration_us or 0.0 for call in trace.calls if call.parent is None) / 1000
        for rank, trace in traces.items()
    }
    fast, slow = min(times, key=lambda rank: times[rank]), max(times, key=lambda rank: times[rank])
    return f"time: {times[fast]:.1f} ms on rank {fast} … {times[slow]:.1f} ms on rank {slow}"
