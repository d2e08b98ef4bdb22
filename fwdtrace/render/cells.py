"""A call in few words: its name, entry, shapes, parameters, source line and marks, each as the text of one cell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from fwdtrace.trace import Call, Leaf, Op, Site, TensorMeta, Trace, Value

_DTYPE = re.compile(r"(bfloat|float|complex|uint|int)(\d+)")
_DTYPE_LETTERS = {"bfloat": "bf", "float": "f", "complex": "c", "uint": "u", "int": "i"}
_INDEX = re.compile(r"\[\d+\]")
_NOT_TEXT = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # what moves a cursor, hides, or turns the text around


@dataclass(frozen=True, slots=True)
class Usual:
    """What goes without saying in a trace, because nearly every tensor has it; `encoding` is that of the output."""

    dtype: str
    device: str
    encoding: str = "utf-8"


def usual(trace: Trace, encoding: str = "utf-8") -> Usual:
    """The floating-point type of most calls and the device of the run."""
    leaves = (leaf for call in trace.calls for leaf in call.outputs[:1])
    dtypes = Counter(leaf.dtype for leaf in leaves if isinstance(leaf, TensorMeta) and "float" in leaf.dtype)
    dtype = max(dtypes, key=lambda name: (dtypes[name], name == "float32"), default="float32")
    return Usual(dtype, trace.run.device, encoding)


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text on one line, with everything escaped that would not be seen as itself."""
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _NOT_TEXT else character
        for character in text
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells, ending in … if it was longer."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip(" ") + "…" if width > 0 else ""


def padded(text: str, width: int) -> str:
    """The text in exactly `width` cells, spaces added on the right."""
    return text + " " * (width - cell_len(text))


def name(call: Call, parent: Call | None, encoding: str = "utf-8") -> str:
    """The name of a module under the one that called it; in full if it is not below that one; its class for a root."""
    if call.path is None:
        return f"({printable(call.class_name, encoding)})"
    if call.path == "":
        return printable(call.class_name, encoding)
    above = f"{parent.path}." if parent is not None and parent.path else ""
    return printable(call.path.removeprefix(above), encoding)


def entry(call: Call, *, short: bool = False) -> str:
    """How the call went in: `__call__ → forward`, or `forward DIRECT` when it went around `__call__`."""
    if call.entry == "forward":
        return "forward DIRECT"
    if short or not (call.opaque or call.chain):
        return "__call__"
    return f"__call__ → {printable(call.opaque) if call.opaque else 'forward'}"


def way(call: Call) -> str:
    """The functions that ran from the caller to `forward`, each without what the one before it says already."""
    if not call.chain:
        return call.opaque or "forward was not reached"
    *before, last = call.chain
    names = [*before, "forward" if last.endswith(".forward") else last]
    previous = ["", *names]
    return " → ".join(name.removeprefix(f"{above}.") for above, name in zip(previous, names, strict=False))


def source(site: Site | None, encoding: str = "utf-8") -> str:
    """The line in short: `model.py:31`."""
    if site is None:
        return ""
    file = re.split(r"[/\\]", site.file)[-1]
    return f"{printable(file, encoding)}:{site.line}"


def cut_source(text: str, width: int) -> str:
    """The end of `model.py:31`, where the line number is, in at most `width` cells."""
    if cell_len(text) <= width:
        return text
    kept = text
    while kept and cell_len(kept) > width - 1:
        kept = kept[1:]
    return f"…{kept}" if width > 0 else ""


def count(number: int, *, short: bool = False) -> str:
    """`62,006`, or `62.0k` in short; nothing for none."""
    if not number:
        return ""
    if short:
        for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
            if number >= size:
                return f"{number / size:.1f}{letter}"
    return f"{number:,}"


def duration(microseconds: float) -> str:
    """`640 µs`, `12.3 ms` or `1.25 s`."""
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


def inputs(node: Call | Op, known: Usual) -> list[str]:
    """One text a leaf, tensors first and None last; the first tensor goes without its name."""
    if not node.inputs:
        return ["()"]
    ordered = sorted(node.inputs, key=_importance)
    return [
        _leaf("" if number == 0 and isinstance(leaf, TensorMeta) else leaf.name, leaf, known)
        for number, leaf in enumerate(ordered)
    ]


def outputs(node: Call | Op, known: Usual) -> list[str]:
    """One text a leaf, tensors first and None last; positions in a tuple are not named, keys are; ✗ if it raised."""
    if not node.outputs:
        return ["✗" if node.error else "()"]
    return [
        _leaf(_INDEX.sub("", leaf.name).removeprefix("."), leaf, known)
        for leaf in sorted(node.outputs, key=_importance)
    ]


def is_bundle(node: Call | Op) -> bool:
    """Whether the result is a tuple or another container, to be shown in parentheses."""
    return len(node.outputs) > 1 or any(leaf.name.startswith("[") for leaf in node.outputs)


def listed(texts: Sequence[str], width: int) -> str:
    """As many of the texts as go into `width` cells, and `+N` for those that do not."""
    whole = ", ".join(texts)
    if cell_len(whole) <= width:
        return whole
    kept, used = 0, 0
    for text in texts[:-1]:
        used += cell_len(text) + 2
        if used + len(f"+{len(texts) - kept - 1}") > width:
            break
        kept += 1
    if kept:
        return f"{', '.join(texts[:kept])}, +{len(texts) - kept}"
    rest = f", +{len(texts) - 1}" if len(texts) > 1 else ""
    return cut(texts[0], width - len(rest)) + rest


def marks(call: Call) -> list[str]:
    """What else there is to know: hooks that ran or were skipped, a `__call__` of its own, another thread."""
    found = []
    fired = [hook for hook in call.hooks if hook.fired and hook.kind not in _NO_HOOKS]
    changed = sum(hook.changed for hook in fired)
    if fired:
        found.append(f"{_plural(len(fired), 'hook')}{', a value changed' if changed else ''}")
    waiting = [hook for hook in call.hooks if not hook.fired and hook.kind not in _NO_HOOKS]
    if call.entry == "__call__":
        # Backward hooks run in backward, if there is one.
        later = [hook for hook in waiting if "backward" in hook.kind]
        waiting = [hook for hook in waiting if "backward" not in hook.kind]
        if later:
            found.append(_plural(len(later), "backward hook"))
    if waiting:
        found.append(f"{_plural(len(waiting), 'hook')} skipped")
    found += [f"{_NO_HOOKS[hook.kind]} skipped" for hook in call.hooks if hook.kind in _NO_HOOKS and not hook.fired]
    if call.entry == "__call__" and not call.opaque and call.chain and call.chain[0].endswith(".__call__"):
        found.append("own __call__")
    if call.thread:
        found.append(f"thread {printable(call.thread)}")
    return found


_NO_HOOKS = {"compiled": "compile()", "call_override": "own __call__"}


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _importance(leaf: Leaf) -> int:
    if isinstance(leaf, TensorMeta):
        return 0
    return 2 if leaf.value == "None" else 1


def _leaf(label: str, leaf: Leaf, known: Usual) -> str:
    label = printable(label, known.encoding)
    if isinstance(leaf, Value):
        value = printable(leaf.value, known.encoding)
        return f"{label}={value}" if label else value
    words = [label] if label else []
    words.append("×".join("?" if size < 0 else str(size) for size in leaf.shape) or "scalar")
    if leaf.dtype != known.dtype:
        words.append(dtype(leaf.dtype))
    if leaf.layout != "strided":
        words.append(printable(leaf.layout, known.encoding))
    if leaf.device != known.device:
        words.append(printable(leaf.device, known.encoding))
    return " ".join(words)


def dtype(text: str) -> str:
    """The short notation: `float32` is `f32`, `int64` is `i64`."""
    return _DTYPE.sub(lambda found: _DTYPE_LETTERS[found[1]] + found[2], printable(text))
