"""What every form says of a call in the same words: its name, how it was entered, from where, and what is special."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from fwdtrace.render.fold import Amount, Repeat
from fwdtrace.render.sheet import Sheet
from fwdtrace.render.words import printable
from fwdtrace.trace import Call, Event, Op, Site
from fwdtrace.trace.text import multiplied, plural, with_nth

_NO_HOOKS = {"compiled": "compile()", "call_override": "own __call__"}
"""The kinds of hooks that are not registered as hooks, and what they are called."""


USUAL_ENTRY = "__call__ → forward"


def name(event: Event, parent: Call | None, sheet: Sheet) -> str:
    """The path of a module without that of its caller: `fc` for `layers.0.fc` in `layers.0`; the class for the root.

    It is in full if the module is not inside its caller, and the class in brackets if it is outside the tree.
    """
    if isinstance(event, Op):
        return sheet.text(event.name)
    if event.path is None:
        return f"({sheet.text(event.class_name)})"
    above = f"{parent.path}." if parent is not None and parent.path else ""
    return sheet.text(event.path.removeprefix(above) or event.class_name)


def label(event: Event, parent: Call | None, sheet: Sheet) -> str:
    """The name of a row, and which call of its module it is if not the first: `sig #2`."""
    text = name(event, parent, sheet)
    return with_nth(text, event.nth) if isinstance(event, Call) else text


def repeat_label(repeat: Repeat, parent: Call | None, sheet: Sheet) -> str:
    """The first and the last of equal blocks: `layers.0 … layers.11`."""
    first, last = ([name(event, parent, sheet) for event in round] for round in (repeat.first, repeat.last))
    if first[0] == last[0]:  # one module called again and again
        first, last = (
            [
                f"{text} #{event.nth}" if isinstance(event, Call) else text
                for text, event in zip(names, round, strict=True)
            ]
            for names, round in ((first, repeat.first), (last, repeat.last))
        )
    return ", ".join(first) if first == last else f"{', '.join(first)} … {', '.join(last)}"


def repeat_count(repeat: Repeat, sheet: Sheet) -> str:
    """How often the blocks come, and in which containers their tensors differ: `×12, same shapes but in cache`."""
    but = f" but in {sheet.text(', '.join(repeat.but))}" if repeat.but else ""
    return f"{multiplied(repeat.times)}, same shapes{but}"


def amount_text(amount: Amount) -> str:
    """`12 calls`, `12 calls and 1 op`, `12 calls (3 direct, 1 FT005 non-finite)`."""
    counts = (amount.calls, "call"), (amount.ops, "op")
    text = " and ".join(plural(number, noun) for number, noun in counts if number)
    marked = ", ".join(f"{number:,} {what}" for what, number in amount.marked.items())
    return f"{text} ({marked})" if marked else text


def left_out_text(patterns: Sequence[str], rows: int, amount: Amount, sheet: Sheet) -> str:
    """What of the trace is not there because no pattern matches it."""
    asked = sheet.text(" ".join(f"--only {pattern!r}" for pattern in patterns))
    if not rows:
        glob = "a glob such as '*.attn' for paths, classes and ops"
        return f"nothing matches {asked}, {glob}: all {amount_text(amount)} left out"
    return f"{amount_text(amount) or 'nothing'} left out by {asked}"


def entry(call: Call, *, short: bool = False) -> str:
    """How the module was entered: `__call__ → forward`, or `forward DIRECT` if `forward` ran without `__call__`."""
    if call.entry == "forward":
        return "forward DIRECT"
    if short or not (call.opaque or call.chain):
        return "__call__"
    return f"__call__ → {printable(call.opaque or 'forward')}"


def way(call: Call) -> str:
    """The functions that ran from the caller to `forward`, each without what it shares with the one before."""
    return _way(call.chain) if call.chain else call.opaque or "forward was not reached"


@lru_cache(256)
def _way(chain: tuple[str, ...]) -> str:
    *before, last = chain
    names = [*before, "forward" if last.endswith(".forward") else last]
    return " → ".join(name.removeprefix(f"{above}.") for above, name in zip(["", *names], names, strict=False))


def source(site: Site | None, sheet: Sheet) -> str:
    """The line in short: `model.py:31`; empty if it is not known."""
    if site is None:
        return ""
    file = re.split(r"[/\\]", site.file)[-1]
    return f"{sheet.text(file)}:{site.line}"


def marks(call: Call, *, nan_is_shown: bool = False) -> list[str]:
    """What is special: hooks that ran or were skipped, a `__call__` of its own, NaN, another thread.

    Where a column has the number of NaN already (`nan_is_shown`), it is told here only if infinities are among them.
    """
    texts = []
    hooks = [hook for hook in call.hooks if hook.kind not in _NO_HOOKS]
    fired = [hook for hook in hooks if hook.fired]
    waiting = [hook for hook in hooks if not hook.fired]
    if fired:
        changed = any(hook.changed for hook in fired)
        texts.append(plural(len(fired), "hook") + (", a value changed" if changed else ""))
    if call.entry == "__call__":  # backward hooks run in backward, if there is one
        later = sum("backward" in hook.kind for hook in waiting)
        waiting = [hook for hook in waiting if "backward" not in hook.kind]
        if later:
            texts.append(plural(later, "backward hook"))
    if waiting:
        texts.append(f"{plural(len(waiting), 'hook')} skipped")
    texts += [f"{_NO_HOOKS[hook.kind]} skipped" for hook in call.hooks if hook.kind in _NO_HOOKS and not hook.fired]
    if call.entry == "__call__" and not call.opaque and call.chain and call.chain[0].endswith(".__call__"):
        texts.append("own __call__")
    if call.nonfinite and not (nan_is_shown and not call.nonfinite.inf):
        counts = ((call.nonfinite.nan, "NaN"), (call.nonfinite.inf, "inf"))
        texts += [f"{number:,} {kind}" for number, kind in counts if number]
    if call.thread:
        texts.append(f"thread {printable(call.thread)}")
    return texts
