"""Where the traces of the ranks of one program differ: in their calls, in their shapes, in their time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fwdtrace.trace import Call, Leaf, TensorMeta, Trace

MOST_LINES = 5


def rank_report(found: Mapping[int, Mapping[str, Trace]]) -> list[str]:
    """Lines that tell how the traces of each rank differ from those of the lowest one that has the same part.

    A part is what one of the files of a rank is called without the rank: another model, or another call.
    """
    lines = [f"rank {rank}: no trace was found" for rank, parts in found.items() if not parts]
    reports = {}
    for part in dict.fromkeys(part for parts in found.values() for part in parts):
        traces = {rank: parts[part] for rank, parts in found.items() if part in parts}
        absent = [rank for rank, parts in found.items() if parts and part not in parts]
        reports[part] = [f"rank {rank}: no such call was kept" for rank in absent] + _of_part(traces)
    for part, told in reports.items():
        lines += told if len(reports) == 1 else [f"{part}: {line}" for line in told]
    return lines


def _of_part(traces: Mapping[int, Trace]) -> list[str]:
    if len(traces) < 2:
        return []
    lines = []
    base = min(traces)
    same = []
    for rank in sorted(traces):
        if rank == base:
            continue
        told = list(_differences(traces[base], traces[rank], f"rank {base}", f"rank {rank}"))
        lines += told[:MOST_LINES]
        if len(told) > MOST_LINES:
            lines.append(f"rank {rank}: {len(told) - MOST_LINES} more differences from rank {base}")
        if not told:
            same.append(rank)
    if len(same) == len(traces) - 1:
        lines.append(f"{len(traces)} ranks made the same calls with the same shapes")
    elif same:
        lines.append(f"like rank {base}: {', '.join(map(str, same))}")
    return [*lines, _spread(traces)]


def _differences(base: Trace, other: Trace, base_name: str, name: str) -> Iterator[str]:
    """The calls that only one of them made, and those with other shapes; the innermost are told of last."""
    ours, theirs = _by_place(base), _by_place(other)
    for place, call in ours.items():
        if place not in theirs:
            yield f"{name}: no call {_named(call)}, which {base_name} made"
    for place, call in theirs.items():
        before = ours.get(place)
        if before is None:
            yield f"{name}: call {_named(call)}, which {base_name} did not make"
            continue
        if before.entry != call.entry:
            yield f"{name}: {_named(call)} entered by {call.entry}, on {base_name} by {before.entry}"
        for what, mine, yours in (
            ("input", call.inputs, before.inputs),
            ("output", call.outputs, before.outputs),
        ):
            if _shapes(mine) != _shapes(yours):
                yield f"{name}: {_named(call)} {what} {_shapes(mine)}, on {base_name} {_shapes(yours)}"
                break
        if call.error is not None and before.error is None and not call.error.raised_below:
            yield f"{name}: {_named(call)} raised {call.error.type}"


def _spread(traces: Mapping[int, Trace]) -> str:
    """The fastest and the slowest rank, by the time in calls that nothing recorded made."""
    times = {
        rank: sum(call.duration_us or 0.0 for call in trace.calls if call.parent is None) / 1000
        for rank, trace in traces.items()
    }
    fast, slow = min(times, key=lambda rank: times[rank]), max(times, key=lambda rank: times[rank])
    return f"time: {times[fast]:.1f} ms on rank {fast} … {times[slow]:.1f} ms on rank {slow}"


def _by_place(trace: Trace) -> dict[tuple[str | None, str, int], Call]:
    return {(call.path, call.class_name, call.nth): call for call in trace.calls}


def _named(call: Call) -> str:
    path = call.class_name if not call.path else call.path
    return path if call.nth == 1 else f"{path} #{call.nth}"


def _shapes(leaves: tuple[Leaf, ...]) -> str:
    shapes = ["×".join(map(str, leaf.shape)) or "scalar" for leaf in leaves if isinstance(leaf, TensorMeta)]
    return ", ".join(shapes) or "no tensor"
