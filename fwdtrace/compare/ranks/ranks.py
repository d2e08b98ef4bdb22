"""The saved traces of all ranks of a program -> RanksView: where they differ in calls, shapes, findings and time.

Files are read one after the other, as texts; rows are read of one rank of each kind alone.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fwdtrace.compare.document import LEFT_OUT_IF_NONE
from fwdtrace.compare.ranks.rank_differences import differences_of_ranks
from fwdtrace.errors import TraceFileError
from fwdtrace.trace import Trace
from fwdtrace.trace.raw import RawTrace, read_raw
from fwdtrace.trace.read import load_trace
from fwdtrace.trace.text import with_nth

SLOW = 1.2
"""A rank is slow that takes so many times as long as the median of all."""
MOST_KINDS = 8
"""Of so many kinds of ranks that do not do as most do, the differences are looked at one by one."""
_RANK = re.compile(r"\.rank\d+")


@dataclass(frozen=True, slots=True)
class Kind:
    """Ranks that did the same, and what they did not do as most did."""

    ranks: tuple[int, ...]
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Slow:
    """A rank that took long: how many times the median, and the innermost call that took most of it."""

    rank: int
    duration_us: float
    times: float
    path: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    excess_us: float | None = field(default=None, metadata=LEFT_OUT_IF_NONE)


@dataclass(frozen=True, slots=True)
class RankFinding:
    """A finding that not all ranks have."""

    ranks: tuple[int, ...]
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CallOnRanks:
    """One call of one model on all ranks that have it; `name` is that of its files without the rank.

    `kinds` begins with the ranks that do what most do. `missing` are ranks of the program without a file.
    """

    name: str
    model: str
    ranks: tuple[int, ...]
    missing: tuple[int, ...]
    kinds: tuple[Kind, ...]
    findings: tuple[RankFinding, ...]
    fastest: tuple[int, float]
    median_us: float
    slowest: tuple[int, float]
    slow: tuple[Slow, ...]


@dataclass(frozen=True, slots=True)
class RanksView:
    """All parts, why files are left out, and for each part the trace of a rank that does what most do."""

    parts: tuple[CallOnRanks, ...]
    problems: tuple[str, ...] = ()
    traces: tuple[Trace, ...] = ()


def view_of_ranks(files: Iterable[str]) -> RanksView:
    """Look at the traces of all ranks; TraceFileError if there is none."""
    found: dict[str, dict[int, tuple[str, RawTrace]]] = defaultdict(dict)
    problems = []
    for file in sorted(files, key=_by_number):
        try:
            raw = _raw(file)
        except TraceFileError as error:
            problems.append(str(error))
            continue
        rank = raw.head.run.rank
        name = _RANK.sub("", Path(file).name)
        if rank is None:
            problems.append(f"{file} is of no rank")
        elif rank in found[name]:
            problems.append(f"{file} is of rank {rank}, as {found[name][rank][0]} is")
        else:
            found[name][rank] = file, raw
    parts = [_part(name, ranks) for name, ranks in found.items() if ranks]
    if not parts:
        raise TraceFileError("; ".join(problems) or "there is no file of that name")
    return RanksView(tuple(part for part, _ in parts), tuple(problems), tuple(trace for _, trace in parts))


def _by_number(file: str) -> list[tuple[int, str]]:
    """An order of names in which rank 10 comes after rank 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file)]


def _raw(file: str) -> RawTrace:
    try:
        raw = read_raw(file)
    except (OSError, ValueError):
        raw = None
    if raw is None:
        load_trace(file)  # says why it is none
        raise TraceFileError(
            f"{file} was not written by fwdtrace as it is; `fwdtrace show` it with -o to write it anew"
        )
    return raw


def _part(name: str, ranks: Mapping[int, tuple[str, RawTrace]]) -> tuple[CallOnRanks, Trace]:
    """One part, and the trace of a rank that does what most do."""
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for rank, (_, raw) in ranks.items():
        by_digest[raw.digest].append(rank)
    groups = sorted(by_digest.values(), key=lambda group: (-len(group), group))
    base = load_trace(ranks[groups[0][0]][0])
    times = {rank: raw.outermost or raw.head.run.duration_us for rank, (_, raw) in ranks.items()}
    median = statistics.median(times.values())
    fastest, slowest = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
    head = ranks[groups[0][0]][1].head
    part = CallOnRanks(
        name,
        head.model.class_name,
        tuple(sorted(ranks)),
        _missing(ranks),
        tuple(_kinds(groups, ranks, base)),
        tuple(_findings(ranks)),
        (fastest, times[fastest]),
        median,
        (slowest, times[slowest]),
        tuple(_slow(times, median, groups[0], ranks, base)),
    )
    return part, base


def _missing(ranks: Mapping[int, tuple[str, RawTrace]]) -> tuple[int, ...]:
    """The ranks that the program had, as one of its traces says, and that have no file."""
    sizes = [
        int(value.value)
        for _, raw in ranks.values()
        for value in raw.head.run.around
        if value.name == "processes" and value.value.isdigit()
    ]
    return tuple(sorted(set(range(max([*sizes, max(ranks) + 1]))) - ranks.keys()))


def _kinds(groups: Sequence[Sequence[int]], ranks: Mapping[int, tuple[str, RawTrace]], base: Trace) -> list[Kind]:
    """The kinds of ranks; those whose differences from most ranks are the same in words are one."""
    said: dict[tuple[str, ...], list[int]] = {}
    for group in groups[1 : MOST_KINDS + 1]:
        other = load_trace(ranks[group[0]][0])
        texts = tuple(differences_of_ranks(base, other, f"rank {groups[0][0]}"))
        said.setdefault(texts or ("other ops or sources",), []).extend(group)
    rest = [rank for group in groups[MOST_KINDS + 1 :] for rank in group]
    if rest:
        said[("other calls, ops or shapes",)] = rest
    return [Kind(tuple(groups[0])), *(Kind(tuple(sorted(group)), texts) for texts, group in said.items())]


def _findings(ranks: Mapping[int, tuple[str, RawTrace]]) -> list[RankFinding]:
    have: dict[tuple[str, str], list[int]] = defaultdict(list)
    for rank, (_, raw) in ranks.items():
        for row in raw.findings:
            finding = json.loads(row)
            have[str(finding.get("code")), str(finding.get("message"))].append(rank)
    return [RankFinding(tuple(sorted(have[key])), *key) for key in have if len(have[key]) < len(ranks)]


def _slow(
    times: Mapping[int, float],
    median: float,
    alike: Sequence[int],
    ranks: Mapping[int, tuple[str, RawTrace]],
    base: Trace,
) -> list[Slow]:
    """The slow ranks, the slowest first; where the time went is known of those that made the same calls as most."""
    slow = sorted((rank for rank in times if times[rank] > SLOW * median > 0), key=lambda rank: -times[rank])
    if not slow:
        return []
    timed = [call for call in base.calls if call.duration_us is not None]
    columns = list(zip(*(ranks[rank][1].durations for rank in alike), strict=False))
    medians = [statistics.median(column) for column in columns] if len(columns) == len(timed) else []
    innermost = {call.id for call in base.innermost}
    found = []
    for rank in slow:
        path, excess = None, None
        if rank in alike and medians:
            excesses = {
                place: duration - medians[place]
                for place, duration in enumerate(ranks[rank][1].durations)
                if timed[place].id in innermost
            }
            most = max(excesses, key=excesses.__getitem__)
            call = timed[most]
            path, excess = with_nth(call.path or call.class_name, call.nth), excesses[most]
        found.append(Slow(rank, times[rank], times[rank] / median, path, excess))
    return found
