"""FT005 and FT009: where NaN and infinities came up, and which values hooks replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from fwdtrace.trace import Call, Finding, Hook, Leaf, NonFinite, Op, Site, TensorMeta, Trace, Value
from fwdtrace.trace.mechanisms import short_name
from fwdtrace.trace.text import listed, name_of, name_with_class, plural, shape_text
from fwdtrace.trace.values import Event, shapes_in

_NON_FINITE_VALUES = ("-inf", "inf", "nan")


@dataclass(frozen=True, slots=True)
class _Spoiled:
    """A call or op with NaN or infinities in its outputs, and how many."""

    event: Event
    numbers: NonFinite


def non_finite(trace: Trace) -> Iterator[Finding]:
    """FT005: the first call or op to end that made NaN or infinities out of finite inputs."""
    spoiled = [_Spoiled(event, event.nonfinite) for event in trace.events if event.nonfinite is not None]
    if all(isinstance(case.event, Op) and not case.numbers.nan for case in spoiled):
        return  # infinities that no call returned are usually those of a mask
    # In order of ending, so that what made the numbers comes before the calls around it, which pass them on.
    spoiled.sort(key=lambda case: (trace.end(case.event), -case.event.id))
    blamed = _to_blame(trace, spoiled)
    if blamed is not None:
        event, message = blamed
        call = event.id if isinstance(event, Call) else event.parent
        yield Finding("FT005", "non-finite", call, message, event.site)


def _to_blame(trace: Trace, spoiled: list[_Spoiled]) -> tuple[Event, str] | None:
    """The call or op that a person should look at, and the message about it; None if infinities were meant."""
    position = next((index for index, case in enumerate(spoiled) if case.numbers.nan), None)
    nan = None if position is None else spoiled[position]
    up_to_nan = spoiled if position is None else spoiled[: position + 1]
    producers = [case for case in up_to_nan if case.numbers.inputs_finite]
    if nan is not None and nan.numbers.inputs_finite:
        return nan.event, _made(trace, nan)
    unintended = next((case for case in producers if not _writes_infinity(case.event)), None)
    if unintended is not None:
        message = _made(trace, unintended)
        if nan is not None:
            message += f"; {_subject(trace, nan.event)} then made NaN of them{_line(nan.event)}"
        return unintended.event, message
    if nan is not None and producers:
        mask = producers[0].event
        source = f"the infinite values of {_subject(trace, mask)}{_line(mask)}"
        return nan.event, f"{_subject(trace, nan.event)} made {_counts(nan)} out of {source}"
    if not producers:
        first = min((case.event for case in spoiled), key=lambda event: event.id)
        message = f"{_subject(trace, first)} was given NaN or infinite values: check the inputs of the model"
        return first, message
    return None


def _writes_infinity(event: Event) -> bool:
    """Whether an op was given infinity or NaN as an argument, as for a mask."""
    return isinstance(event, Op) and any(
        isinstance(leaf, Value) and leaf.value in _NON_FINITE_VALUES for leaf in event.inputs
    )


def _subject(trace: Trace, event: Event) -> str:
    if isinstance(event, Call):
        return name_with_class(event)
    caller = trace.caller(event)
    return f"{event.name} in {name_of(caller)}" if caller is not None else event.name


def _made(trace: Trace, spoiled: _Spoiled) -> str:
    own = spoiled.numbers.parameters
    source = f"with non-finite values in its {listed(own)}" if own else "out of finite inputs"
    return f"{_subject(trace, spoiled.event)} made {_counts(spoiled)} {source}"


def _counts(spoiled: _Spoiled) -> str:
    """`3 NaN and 1 infinite of 640 elements`."""
    numbers = spoiled.numbers
    counts = [f"{count:,} {word}" for count, word in ((numbers.nan, "NaN"), (numbers.inf, "infinite")) if count]
    elements = sum(map(prod, shapes_in(spoiled.event.outputs)))
    return f"{' and '.join(counts)} of {plural(elements, 'element')}"


def _line(event: Event) -> str:
    return f" (line {event.site.line})" if event.site else ""


def hook_changed_value(trace: Trace) -> Iterator[Finding]:
    """FT009: a hook replaced inputs or outputs; one finding for each hook, about the first call that it changed."""
    changed: dict[tuple[str, str, str | None, int | None], list[tuple[Call, Hook]]] = {}
    for call in trace.calls:
        for hook in call.hooks:
            if hook.changed:
                changed.setdefault((hook.kind, hook.name, hook.file, hook.line), []).append((call, hook))
    for cases in changed.values():
        call, hook = cases[0]
        names = list(dict.fromkeys(name_of(call) for call, _ in cases))
        message = f"the hook {short_name(hook.name)} replaced {_what(hook)} of {listed(names)}{_change(call, hook)}"
        site = Site(hook.file, hook.line, hook.name, "") if hook.file and hook.line else call.site
        yield Finding("FT009", "hook-changed-value", call.id, message, site)


def _what(hook: Hook) -> str:
    return "the gradient" if "backward" in hook.kind else "the input" if "forward_pre" in hook.kind else "the output"


def _change(call: Call, hook: Hook) -> str:
    """The input or output before the hooks of the call ran, and after."""
    before, after = call.forward_outputs, call.outputs
    if "forward_pre" in hook.kind:
        before, after = call.inputs, call.forward_inputs or ()
    if before is None or "backward" in hook.kind:
        return ""
    old, new = _leaves(before), _leaves(after)
    return f": {new}, as before, with other values" if old == new else f": {old} became {new}"


def _leaves(leaves: tuple[Leaf, ...]) -> str:
    texts = [
        f"{shape_text(leaf.shape)} {leaf.dtype}" if isinstance(leaf, TensorMeta) else leaf.value for leaf in leaves
    ]
    return listed(texts) or "nothing"
