"""Trace -> findings: what an experienced reviewer would say on seeing the trace. One small pure function a rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fwdtrace.mechanisms import mechanism_of
from fwdtrace.trace import Call, Finding, Hook, Site, Trace


def find(trace: Trace) -> tuple[Finding, ...]:
    """All findings of the trace, by code."""
    rules = (direct_forward, stale_or_skipped, forward_error, not_observed, unregistered_module)
    return tuple(finding for rule in rules for finding in rule(trace))


def direct_forward(trace: Trace) -> Iterator[Finding]:
    """FT001: a module's `forward` ran without its `__call__`; one finding a module and line."""
    for calls in _by_place(call for call in trace.calls if call.entry == "forward"):
        first = calls[0]
        name = _name(first)
        skipped = _skipped(first.hooks)
        message = f"{name}.forward ran without __call__{_times(calls)}; {skipped}; call {name}(…) instead"
        yield Finding("FT001", "direct-forward", first.id, message, first.site)


def stale_or_skipped(trace: Trace) -> Iterator[Finding]:
    """FT002: a well-known mechanism that lives in a hook did not act, because `forward` was run directly."""
    for calls in _by_place(call for call in trace.calls if call.entry == "forward"):
        first = calls[0]
        told = set()
        for hook in first.hooks:
            mechanism = mechanism_of(hook)
            if mechanism is None or hook.fired or mechanism in told:
                continue
            told.add(mechanism)
            message = f"{mechanism.name} on {_name(first)} did not act: {mechanism.when_skipped}; {mechanism.remedy}"
            yield Finding("FT002", "stale-or-skipped", first.id, message, first.site)


def forward_error(trace: Trace) -> Iterator[Finding]:
    """FT006: the innermost call that raised, unless a caller caught the error."""
    ended = [call for call in trace.calls if call.parent is None and call.error is not None]
    for root in ended:
        call = root
        while call.error is not None and call.error.raised_below:
            below = [child for child in trace.children(call) if child.error is not None]
            if not below:
                break
            call = below[-1]
        if call.error is not None:
            message = f"{_name(call)} ({call.class_name}) raised {call.error.type}: {call.error.message}"
            yield Finding("FT006", "forward-error", call.id, message, call.site)


def not_observed(trace: Trace) -> Iterator[Finding]:
    """FT007: what ran but could not be seen."""
    reasons = {
        "compiled": "ran compiled: the calls inside it are not shown; TORCHDYNAMO_DISABLE=1 makes it run eagerly",
        "script": "is TorchScript: the calls inside it run in C++ and are not shown",
    }
    for calls in _by_place(call for call in trace.calls if call.opaque is not None):
        first = calls[0]
        message = f"{_name(first)} ({first.class_name}) {reasons[first.opaque or '']}"
        yield Finding("FT007", "not-observed", first.id, message, first.site)


def unregistered_module(trace: Trace) -> Iterator[Finding]:
    """FT010: a module with parameters ran that no registered module holds."""
    for calls in _by_place(call for call in trace.calls if call.path is None and call.parameters):
        first = calls[0]
        if _called_from_outside(trace, first):
            continue
        message = (
            f"a {first.class_name} with {first.parameters:,} parameters ran{_times(calls)} but is not registered:"
            " no optimizer, state_dict or .to() will see it; assign it to an attribute or put it into an nn.ModuleList"
        )
        yield Finding("FT010", "unregistered-module", first.id, message, first.site)


def _called_from_outside(trace: Trace, call: Call) -> bool:
    """Whether the caller is itself outside the tree, so that the finding belongs there."""
    return call.parent is not None and trace.call(call.parent).path is None


def _by_place(calls: Iterable[Call]) -> list[list[Call]]:
    """The calls grouped by module and line, in order of the first."""
    groups: dict[tuple[str | None, str, Site | None], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.path, call.class_name, call.site), []).append(call)
    return list(groups.values())


def _name(call: Call) -> str:
    return call.path or ("the model" if call.path == "" else call.class_name)


def _times(calls: list[Call]) -> str:
    return f" {len(calls)} times" if len(calls) > 1 else ""


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
