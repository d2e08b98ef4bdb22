"""The traces of two ranks of one program -> in words, the calls that only one of them made and those that differ."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.compare.leaves import other_values
from fwdtrace.trace import Call, Leaf, Trace
from fwdtrace.trace.text import shapes_text, with_nth


def differences_of_ranks(base: Trace, other: Trace, base_name: str) -> Iterator[str]:
    """What is said of the other rank, in order of the calls; `base_name` is what the first is called."""
    base_calls, calls = _by_place(base), _by_place(other)
    for place, call in base_calls.items():
        if place not in calls:
            yield f"no call {_named(call)}, which {base_name} made"
    for place, call in calls.items():
        before = base_calls.get(place)
        if before is None:
            yield f"call {_named(call)}, which {base_name} did not make"
            continue
        if before.entry != call.entry:
            yield f"{_named(call)} entered by {call.entry}, on {base_name} by {before.entry}"
        for what, leaves, leaves_before in (
            ("input", call.inputs, before.inputs),
            ("output", call.outputs, before.outputs),
        ):
            if _shapes(leaves) != _shapes(leaves_before):
                yield f"{_named(call)} {what} {_shapes(leaves)}, on {base_name} {_shapes(leaves_before)}"
                break
            ours, theirs = (", ".join(other_values(side)) or "none" for side in (leaves, leaves_before))
            if ours != theirs:
                yield f"{_named(call)} {what} {ours}, on {base_name} {theirs}"
                break
        if call.error is not None and before.error is None and not call.error.raised_below:
            yield f"{_named(call)} raised {call.error.type}"


def _by_place(trace: Trace) -> dict[tuple[str | None, str, int], Call]:
    return {(call.path, call.class_name, call.nth): call for call in trace.calls}


def _named(call: Call) -> str:
    return with_nth(call.path or call.class_name, call.nth)


def _shapes(leaves: tuple[Leaf, ...]) -> str:
    return shapes_text(leaves, nothing="no tensor")
