"""FT001 and FT002: a `forward` that ran without its `__call__`, and mechanisms that did not act for want of a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fwdtrace.findings.places import by_place, repeated
from fwdtrace.findings.readers import reader_text, unmade
from fwdtrace.trace import Call, Finding, Hook, Trace
from fwdtrace.trace.mechanisms import kind_in_words, mechanism_of, short_name
from fwdtrace.trace.text import name_of, plural


def direct_forward(trace: Trace) -> Iterator[Finding]:
    """FT001: a module's `forward` ran without its `__call__`; one finding for each module and line."""
    for calls in by_place(_direct_calls(trace)):
        first = calls[0]
        name = "model" if first.path == "" else name_of(first)  # it stands in code here
        skipped = _skipped(first.hooks)
        message = f"{name}.forward ran without __call__{repeated(calls)}; {skipped}; call {name}(…) instead"
        yield Finding("FT001", "direct-forward", first.id, message, first.site)


def stale_or_skipped(trace: Trace) -> Iterator[Finding]:
    """FT002: a well-known mechanism that lives in a hook did not act, because `forward` was run directly."""
    for calls in by_place(_direct_calls(trace)):
        first = calls[0]
        skipped = dict.fromkeys(mechanism_of(hook) for hook in first.hooks if not hook.fired)
        for mechanism in filter(None, skipped):
            message = f"{mechanism.name} on {name_of(first)} did not act: {mechanism.when_skipped}; {mechanism.remedy}"
            yield Finding("FT002", "stale-or-skipped", first.id, message, first.site)


def weights_not_made(trace: Trace) -> Iterator[Finding]:
    """FT002: the weights of a module were read without its call, in which a mechanism makes or loads them."""
    for path, (reading, mechanism) in unmade(trace).items():
        message = (
            f"{mechanism.name} on {path} did not act, as {reader_text(trace, reading)} read {reading.name} without a"
            f" call of {path}: {mechanism.when_skipped}; {mechanism.remedy}"
        )
        yield Finding("FT002", "stale-or-skipped", reading.event.parent, message, reading.event.site)


def _direct_calls(trace: Trace) -> list[Call]:
    """The calls of a forward that somebody made; what backward runs again was called before."""
    return [call for call in trace.calls if call.entry == "forward" and not call.in_backward]


def _skipped(hooks: tuple[Hook, ...]) -> str:
    """The hooks that a call would have run, counted by kind, with their names."""
    if not hooks:
        return "no hook was registered there, so nothing was skipped this time"
    kinds = Counter(kind_in_words(hook.kind) for hook in hooks)
    names = dict.fromkeys(short_name(hook.name) for hook in hooks)
    return f"skipped {', '.join(plural(count, kind) for kind, count in kinds.items())} ({', '.join(names)})"
