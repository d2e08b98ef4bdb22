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
_WITH_PARTS: dict[type, str] = {tuple: "tuple", list: "list", slice: "slice", torch.Size: "Size"}
_MOST_PARTS = 16
_DEEPEST = 4

Built = str | tuple[str, tuple["Built", ...]]
"""How a value is built: "tensor", "same" or "equal", or a type with how its parts are built."""
Lookup = Callable[[int], Known | None]
"""Gives what is known of a tensor by its identity."""
Compare = Callable[[tuple[Any, ...], list[Any], Lookup], Noted | None]
"""Takes arguments, the `parts` of those given before, and the lookup.

Returns what is known of the tensors in the arguments if these are like those before; else None.
"""


class Given:
    """Arguments as an op was given them: `count` of them, the last of which were given by these `names`.

    `parts` has of each tensor in them how it is described, and all else itself. `inputs` are their leaves. `count` is
    less than any where there is more in them than can be compared. `compare` takes as many other arguments.
    """

    __slots__ = ("_built", "compare", "count", "inputs", "names", "parts")

    def __init__(
        self, values: tuple[Any, ...], names: tuple[str, ...], inputs: Leaves, entries: Sequence[Known]
    ) -> None:
        self.parts: list[Any] = []
        self.names = names
        self.inputs = inputs
        rest = iter(entries)
        self._built = _built_of(values, rest, self.parts, 0)
        self.count = len(values) if self._built is not None and next(rest, None) is None else -1
        self.compare: Compare | None = None

    def made_compare(self) -> Compare:
        """The function that compares, which is made when it is first needed, as most lines run once."""
        self.compare = _comparison(self._built or ())
        return self.compare


class Line:
    """What is known of one place: what was given there last, and what the one tensor was like that was made last."""

    __slots__ = ("given", "made", "position")

    def __init__(self, position: Position, made: Alike) -> None:
        self.position = position
        self.given: Given | None = None
        self.made = made


def _built_of(
    values: Iterable[Any], entries: Iterator[Known], parts: list[Any], depth: int
) -> tuple[Built, ...] | None:
    """How values are built; what is compared with each part is added to `parts`. None if there is more in them."""
    built: list[Built] = []
    for value in values:
        kind = type(value)
        if isinstance(value, Tensor):
            entry = next(entries, None)
            if entry is None:
                return None
            parts.append(entry.like)
            built.append("tensor")
        elif kind in _BY_IDENTITY or kind in _BY_VALUE:
            parts.append(value)
            built.append("same" if kind in _BY_IDENTITY else "equal")
        elif kind in _WITH_PARTS and depth < _DEEPEST:
            children = (value.start, value.stop, value.step) if kind is slice else value
            if len(children) > _MOST_PARTS or (kind is slice and not {type(child) for child in children} <= _BOUNDS):
                return None
            inside = _built_of(children, entries, parts, depth + 1)
            if inside is None:
                return None
            built.append((_WITH_PARTS[kind], inside))
        else:
            return None
    return tuple(built)


_CHECKS = {
    "same": ["if @ is not @_like: return None"],
    "equal": ["if @ is not @_like and (type(@) is not type(@_like) or @ != @_like): return None"],
    "tensor": [
        "@_entry = lookup(id(@))",
        "if @_entry is None or @_entry.like is not @_like or @_entry() is not @ or not @_like.accepts(@): return None",
        "if @_entry.version >= 0 and @_entry.version != @._version: return None",
    ],
}


@lru_cache(maxsize=512)
def _comparison(built: tuple[Built, ...]) -> Compare:
    """The function that compares arguments which are built in this way."""
    leaves: list[tuple[str, str]] = []
    checks = _checks_of_parts(built, "value", "values", leaves)
    entries = [f"{name}_entry" for name, kind in leaves if kind == "tensor"]
    noted = entries[0] if len(entries) == 1 else f"[{', '.join(entries)}]" if entries else "()"
    likes = _unpacked([f"{name}_like" for name, _ in leaves], "parts")
    text = "\n    ".join(["def compare(values, parts, lookup):", *likes, *checks, f"return {noted}"])
    space: dict[str, Any] = {name: kind for kind, name in _WITH_PARTS.items()}
    exec(compile(text, __file__, "exec"), space)
    return space["compare"]  # type: ignore[no-any-return]


def _checks_of_parts(built: tuple[Built, ...], name: str, source: str, leaves: list[tuple[str, str]]) -> list[str]:
    """The lines that take the parts of `source` and compare each; its name and kind are added to `leaves`."""
    names = [f"{name}_{place}" for place in range(len(built))]
    lines = _unpacked(names, source)
    for part, how in zip(names, built, strict=True):
        if isinstance(how, str):
            leaves.append((part, how))
            lines += [line.replace("@", part) for line in _CHECKS[how]]
            continue
        kind, inside = how
        is_other = f"type({part}) is not {kind}"
        if kind == "slice":
            children = f"({part}.start, {part}.stop, {part}.step)"
        else:
            children, is_other = part, f"{is_other} or len({part}) != {len(inside)}"
        lines += [f"if {is_other}: return None", *_checks_of_parts(inside, part, children, leaves)]
    return lines


def _unpacked(names: list[str], source: str) -> list[str]:
    return [f"{''.join(f'{name}, ' for name in names)}= {source}"] if names else []
