"""The short texts about a call that are not shapes: its name, how it went in, where from, its marks, its numbers."""

from __future__ import annotations

import re
import textwrap
import unicodedata

from rich.cells import cell_len, chop_cells, set_cell_size

from fwdtrace.trace import Call, Op, Site

_NOT_SEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that move the cursor, hide, or turn text around."""

_SIZES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_NO_HOOKS = {"compiled": "compile()", "call_override": "own __call__"}


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text on one line, with everything escaped that would not be seen as itself."""
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _NOT_SEEN else character
        for character in text
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells, ending in … if it was longer."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip(" ") + "…" if width > 0 else ""


def cut_left(text: str, width: int) -> str:
    """The end of the text in at most `width` cells, beginning with … if it was longer."""
    if cell_len(text) <= width:
        return text
    start, room = len(text), width - 1
    while start and (room := room - cell_len(text[start - 1])) >= 0:
        start -= 1
    return f"…{text[start:]}" if width > 0 else ""


def padded(text: str, width: int) -> str:
    """The text in at least `width` cells, spaces added on the right."""
    return text + " " * (width - cell_len(text))


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells."""
    width = max(width, 10)
    lines = textwrap.wrap(text, width, break_on_hyphens=False)
    return [part for line in lines for part in (chop_cells(line, width) if cell_len(line) > width else [line])]


def name(node: Call | Op, parent: Call | None, encoding: str = "utf-8") -> str:
    """The name of a module under the one that called it; in full if it is not below that one; its class for a root."""
    if isinstance(node, Op):
        return printable(node.name, encoding)
    if node.path is None:
        return f"({printable(node.class_name, encoding)})"
    above = f"{parent.path}." if parent is not None and parent.path else ""
    return printable(node.path.removeprefix(above) or node.class_name, encoding)


def entry(call: Call, *, short: bool = False) -> str:
    """How the call went in: `__call__ → forward`, or `forward DIRECT` when it went around `__call__`."""
    if call.entry == "forward":
        return "forward DIRECT"
    if short or not (call.opaque or call.chain):
        return "__call__"
    return f"__call__ → {printable(call.opaque or 'forward')}"


def way(call: Call) -> str:
    """The functions that ran from the caller to `forward`, each without what the one before it says already."""
    if not call.chain:
        return call.opaque or "forward was not reached"
    *before, last = call.chain
    names = [*before, "forward" if last.endswith(".forward") else last]
    return " → ".join(name.removeprefix(f"{above}.") for above, name in zip(["", *names], names, strict=False))


def source(site: Site | None, encoding: str = "utf-8") -> str:
    """The line in short: `model.py:31`."""
    if site is None:
        return ""
    file = re.split(r"[/\\]", site.file)[-1]
    return f"{printable(file, encoding)}:{site.line}"


def count(number: int, *, short: bool = False) -> str:
    """`62,006`, or `62.0k` in short; nothing for none."""
    if not number:
        return ""
    size, letter = next(((size, letter) for size, letter in _SIZES if number >= size), (1, ""))
    return f"{number / size:.1f}{letter}" if short and letter else f"{number:,}"


def duration(microseconds: float) -> str:
    """`640 µs`, `12.3 ms` or `1.25 s`."""
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


def plural(number: int, noun: str) -> str:
    """`1 call`, `12 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def marks(call: Call) -> list[str]:
    """What else there is to know: hooks that ran or were skipped, a `__call__` of its own, another thread."""
    found = []
    hooks = [hook for hook in call.hooks if hook.kind not in _NO_HOOKS]
    fired = [hook for hook in hooks if hook.fired]
    waiting = [hook for hook in hooks if not hook.fired]
    if fired:
        changed = any(hook.changed for hook in fired)
        found.append(plural(len(fired), "hook") + (", a value changed" if changed else ""))
    if call.entry == "__call__":  # backward hooks run in backward, if there is one
        later = sum("backward" in hook.kind for hook in waiting)
        waiting = [hook for hook in waiting if "backward" not in hook.kind]
        if later:
            found.append(plural(later, "backward hook"))
    if waiting:
        found.append(f"{plural(len(waiting), 'hook')} skipped")
    found += [f"{_NO_HOOKS[hook.kind]} skipped" for hook in call.hooks if hook.kind in _NO_HOOKS and not hook.fired]
    if call.entry == "__call__" and not call.opaque and call.chain and call.chain[0].endswith(".__call__"):
        found.append("own __call__")
    if call.nonfinite:
        found += [
            f"{number:,} {kind}"
            for number, kind in ((call.nonfinite.nan, "NaN"), (call.nonfinite.inf, "inf"))
            if number
        ]
    if call.thread:
        found.append(f"thread {printable(call.thread)}")
    return found
