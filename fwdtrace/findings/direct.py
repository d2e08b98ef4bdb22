"""FT001 and FT002: a `forward` that ran without its `__call__`, and the mechanisms that did not act because of it."""

from __future__ import annotations

from collections.abc import Iterator

from fwdtrace.findings.words import by_place, name_of, times
from fwdtrace.trace import Finding, Hook, Trace
from fwdtrace.trace.mechanisms import mechanism_of


def direct_forward(trace: Trace) -> Iterator[Finding]:
    """FT001: a module's `forward` ran without its `__call__`; one finding a module and line."""
    for calls in by_place(call for call in trace.calls if call.entry == "forward"):
        first = calls[0]
        name = name_of(first)
        skipped = _skipped(first.hooks)
        message = f"{name}.forward ran without __call__{times(calls)}; {skipped}; call {name}(…) instead"
        yield Finding("FT001", "direct-forward", first.id, message, first.site)


def stale_or_skipped(trace: Trace) -> Iterator[Finding]:
    """FT002: a well-known mechanism that lives in a hook did not act, because `forward` was run directly."""
    for calls in by_place(call for call in trace.calls if call.entry == "forward"):
        first = calls[0]
        told = set()
        for hook in first.hooks:
            mechanism = mechanism_of(hook)
            if mechanism is None or hook.fired or mechanism in told:
                continue
            told.add(mechanism)
            message = f"{mechanism.name} on {name_of(first)} did not act: {mechanism.when_skipped}; {mechanism.remedy}"
            yield Finding("FT002", "stale-or-skipped", first.id, message, first.site)


def _skipped(hooks: tuple[Hook, ...]) -> str:
    if not hooks:
        return "no hook was registered there, so nothing was skipped this time"
    counts: dict[str, int] = {}
    for hook in hooks:
        kind = hook.kind.replace("_", " ")
        counts[kind] = counts.get(kind, 0) + 1
    parts = [
        f"{count} {_KIND_NAMES.get(kind, kind + ' hook')}{'s' if count > 1 else ''}" for kind, count in counts.items()
    ]
    names = ", ".join(dict.fromkeys(_short(hook.name) for hook in hooks))
    return f"skipped {', '.join(parts)} ({names})"


_KIND_NAMES = {
    "forward pre": "forward pre-hook",
    "global forward pre": "global forward pre-hook",
    "full backward pre": "full backward pre-hook",
    "global full backward pre": "global full backward pre-hook",
    "call override": "__call__ of its own",
    "compiled": "compiled call",
}


def _short(name: str) -> str:
    return name.replace(".<locals>", "").rsplit(".", 2)[-1] if "<lambda>" not in name else "lambda"
