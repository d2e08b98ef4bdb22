"""What an op at one place in the code was given and gave last: it is mostly given, and gives, what is like that.

To compare the arguments of each op with those before must take little time. So for each way of building arguments, such
as two tensors and an integer, a function is made that does so without a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.alike import Alike, Leaves
from fwdtrace.recorder.frames import Position
from fwdtrace.recorder.notes import Known, Noted

_BY_IDENTITY = frozenset((type(None), bool, float, type(...), torch.dtype, torch.device, torch.memory_format))
_BY_VALUE = frozenset((int, str))
"""Values of these types are described by themselves alone."""
_BOUNDS = frozenset((type(None), int))
_PARTED = {"tuple": tuple, "list": list, "slice": slice, "Size": torch.Size}
_NAMES = {kind: name for name, kind in _PARTED.items()}
_DEEPEST = 4
_MOST_PARTS = 16

Lookup = Callable[[int], Known | None]
"""Gives what is known of a tensor by its identity."""
Compare = Callable[[tuple[Any, ...], list[Any], Lookup], Noted | None]
"""Takes arguments, the `parts` of those given before, and the lookup.

Returns what is known of the tensors in the arguments if these are like those before; else None.
"""


class Given:
    """Arguments as an op was given them: `count` of them, the last of which were given by these `names`.

    `parts` has of each tensor in them how it is described, and all else itself. `inputs` are their leaves.
    """

    __slots__ = ("_built", "compare", "count", "inputs", "names", "parts")

    compare: Compare
    """Tells what is known of the tensors in as many arguments if they are like these."""

    def __init__(
        self, values: tuple[Any, ...], names: tuple[str, ...], inputs: Leaves, entries: Sequence[Known]
    ) -> None:
        self.parts: list[Any] = []
        self.names = names
        self.inputs = inputs
        rest = iter(entries)
        built = _built_of(values, rest, self.parts, 0)
        self.count = len(values) if built is not None and next(rest, None) is None else -1
        """It is less than any where there is more in the arguments than can be compared."""
        self._built = built or ""
        self.compare = self._compare_first

    def _compare_first(self, values: tuple[Any, ...], parts: list[Any], lookup: Lookup) -> Noted | None:
        """Make the function only now, as most lines run once."""
        self.compare = _comparison(self._built)
        return self.compare(values, parts, lookup)


class Line:
    """What is known of one place: what was given there last, and what the one tensor was like that was made last."""

    __slots__ = ("given", "made", "position")

    def __init__(self, position: Position, made: Alike) -> None:
        self.position = position
        self.given: Given | None = None
        self.made = made


def _built_of(values: Iterable[Any], entries: Iterator[Known], given: list[Any], depth: int) -> str | None:
    """How values are built, as `_comparison` reads it; what each part is like is added to `given`.

    None if there is more in them than can be compared.
    """
    built = ""
    for value in values:
        kind = type(value)
        if isinstance(value, Tensor):
            entry = next(entries, None)
            if entry is None:
                return None
            given.append(entry.like)
            built += "tensor "
        elif kind in _BY_IDENTITY:
            given.append(value)
            built += "same "
        elif kind in _BY_VALUE:
            given.append(value)
            built += "equal "
        elif kind in _NAMES and depth < _DEEPEST:
            parts = (value.start, value.stop, value.step) if kind is slice else value
            if kind is slice and not {type(part) for part in parts} <= _BOUNDS:
                return None
            inside = _built_of(parts, entries, given, depth + 1) if len(parts) <= _MOST_PARTS else None
            if inside is None:
                return None
            built += f"{_NAMES[kind]} {inside}) "
        else:
            return None
    return built


_CHECKS = {
    "same": ["if @value is not @like: return None"],
    "equal": ["if @value is not @like and (type(@value) is not type(@like) or @value != @like): return None"],
    "tensor": [
        "@entry = lookup(id(@value))",
        "if @entry is None or @entry.like is not @like or @entry() is not @value: return None",
        "if not @like.accepts(@value) or (@entry.version >= 0 and @entry.version != @value._version): return None",
    ],
}


@lru_cache(maxsize=512)
def _comparison(built: str) -> Compare:
    """The function that compares arguments which are built in this way."""
    lines: list[str] = []
    entries: list[str] = []
    count = 0

    def unpacked(words: Iterator[str], taken_from: str) -> int:
        """Add the lines that take values out of what has them, and those that compare each."""
        nonlocal count
        here, names = len(lines), []
        for word in words:
            if word == ")":
                break
            names.append(name := f"{taken_from}_{len(names)}")
            if word in _CHECKS:
                parts = {"@value": name, "@like": f"like_{count}", "@entry": f"entry_{count}"}
                count += 1
                if word == "tensor":
                    entries.append(parts["@entry"])
                for line in _CHECKS[word]:
                    for mark, text in parts.items():
                        line = line.replace(mark, text)
                    lines.append(line)
                continue
            place = len(lines)
            inside = unpacked(words, name)
            if word == "slice":
                check, source = "", f"({name}.start, {name}.stop, {name}.step)"
            else:
                check, source = f" or len({name}) != {inside}", name
            targets = "".join(f"{name}_{part}, " for part in range(inside))
            lines[place:place] = [
                f"if type({name}) is not {word}{check}: return None",
                *([f"{targets}= {source}"] if targets else []),
            ]
        if taken_from == "value":
            lines[here:here] = [f"{''.join(f'{name}, ' for name in names)}= values"] if names else []
        return len(names)

    unpacked(iter(built.split()), "value")
    if count:
        lines.insert(0, f"{''.join(f'like_{place}, ' for place in range(count))}= given")
    noted = entries[0] if len(entries) == 1 else f"[{', '.join(entries)}]" if entries else "()"
    text = "\n    ".join(["def compare(values, given, lookup):", *lines, f"return {noted}"])
    space: dict[str, Any] = dict(_PARTED)
    exec(compile(text, __file__, "exec"), space)
    return space["compare"]  # type: ignore[no-any-return]
