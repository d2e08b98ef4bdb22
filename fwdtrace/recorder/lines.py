"""What one place in the code was given and gave last: it is mostly given, and gives, what is built like that.

To compare arguments with those before must take little time. So for each way of building them, such as two tensors and
an integer, a function is made that does so without a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.alike import Alike, Leaves
from fwdtrace.recorder.frames import Position
from fwdtrace.recorder.leaves import LeafTable
from fwdtrace.recorder.notes import Known, Noted
from fwdtrace.recorder.objects import MOST_IN_OBJECT
from fwdtrace.recorder.parts import kind_of

_HOW: dict[type, str] = {
    **dict.fromkeys((type(None), bool, type(...), torch.dtype, torch.memory_format), "same"),
    **dict.fromkeys((int, str, torch.device), "equal"),
    float: "equal float",
}
"""How values of these types are compared, which are described by themselves alone."""
_BOUNDS = frozenset((type(None), int))
_WITH_PARTS: dict[type, str] = {tuple: "tuple", list: "list", slice: "slice", torch.Size: "Size"}
_MOST_PARTS = 16
_DEEPEST = 4

Built = str | tuple[str, tuple["Built", ...]] | int
"""How a value is built: "tensor", how it is compared, a type with how its parts are built, or how many tensors an
object has."""
Described = tuple[Leaves, Noted]
Compare = Callable[[tuple[Any, ...], dict[str, Any] | None, "Given", LeafTable], Described | None]
"""Takes arguments, those given before and the table that knows tensors.

Returns the leaves of the arguments and what is known of their tensors if they are built like those before and nothing
has been written into the tensors since these were met; else None.
"""


class Given:
    """Arguments as they were given, the last ones by these `names`.

    `described` has what each tensor in them is like, and their leaves; `parts` has the values that say how the rest is
    described. `compare` takes other arguments.
    """

    __slots__ = ("_built", "compare", "described", "names", "parts")

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        leaves: Leaves,
        noted: Sequence[Known],
        table: LeafTable,
    ) -> None:
        self.names = tuple(kwargs or ())
        self.described: tuple[tuple[Alike, ...], Leaves] = tuple([entry.like for entry in noted]), leaves
        parts: list[Any] = []
        built = _built_of(args, parts, table, 0)
        by_name = _built_of((kwargs or {}).values(), parts, table, 0) if built is not None else None
        self.parts = tuple(parts)
        self._built = (built, by_name)
        self.compare: Compare = _compare_first

    def says(self, leaves: Leaves) -> bool:
        """Whether what was given last has these leaves, and can be compared: an object only if it was read before."""
        return self.described[1] is leaves and None not in self._built

    def made_compare(self) -> Compare:
        """The function that compares, which is made now: most lines run once."""
        args, by_name = self._built
        self.compare = _like_nothing if args is None or by_name is None else _comparison(args, by_name)
        return self.compare

    def of_others(self, noted: Sequence[Known], table: LeafTable) -> Leaves:
        """The leaves of arguments that are built in the same way with tensors of other shapes; they are kept."""
        likes = tuple([entry.like for entry in noted])
        leaves = table.restated(self.described[1], likes)
        self.described = likes, leaves  # at once, as another thread may compare
        return leaves


class Line:
    """What is known of one place: what was given there last, and what the one tensor was like that was made last."""

    __slots__ = ("given", "made", "position")

    def __init__(self, position: Position, made: Alike) -> None:
        self.position = position
        self.given: Given | None = None
        self.made = made


def _compare_first(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None, given: Given, table: LeafTable
) -> Described | None:
    return given.made_compare()(args, kwargs, given, table)


def _like_nothing(*_: Any) -> None:
    return None


def _built_of(values: Iterable[Any], parts: list[Any], table: LeafTable, depth: int) -> tuple[Built, ...] | None:
    """How values are built; what is compared with each part is added to `parts`. None if there is more in them."""
    built: list[Built] = []
    for value in values:
        kind = type(value)
        if isinstance(value, Tensor):
            built.append("tensor")
        elif kind in _HOW:
            parts.append(value)
            built.append(_HOW[kind])
        elif kind in _WITH_PARTS and depth < _DEEPEST:
            children = (value.start, value.stop, value.step) if kind is slice else value
            if len(children) > _MOST_PARTS or (kind is slice and not {type(child) for child in children} <= _BOUNDS):
                return None
            inside = _built_of(children, parts, table, depth + 1)
            if inside is None:
                return None
            built.append((_WITH_PARTS[kind], inside))
        else:
            layout = table.layout_of(value) if not depth and kind_of(kind) == "object" else None
            if layout is None:
                return None
            parts.append(layout)
            built.append(min(len(layout.names), MOST_IN_OBJECT))
    return tuple(built)


_CHECKS = {
    "same": ["if @ is not parts[#]: return None"],
    "equal": ["if @ is not parts[#] and (type(@) is not type(parts[#]) or @ != parts[#]): return None"],
    "equal float": [  # zeros are equal, but one may be negative
        "if @ is not parts[#] and (type(@) is not float or @ != parts[#] or not @): return None"
    ],
    "tensor": [
        "@_known = known(id(@))",
        "if @_known is None or @_known() is not @ or not @_known.like.accepts(@): return None",
        "if @_known.version >= 0 and @_known.version != @._version: return None",
    ],
    "object": ["@_known = table.known_in(@, parts[#])", "if @_known is None: return None"],
}


_NAMES: dict[str, Any] = {"like_of": attrgetter("like"), **{name: kind for kind, name in _WITH_PARTS.items()}}
"""What comparisons look up: the same for all, as what is looked up seldom takes long."""


class _Text:
    """The text of a comparison, line by line, and what it has found by then."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.parts = self.tensors = 0
        self.noted: list[str] = []
        self.others: list[str] = []
        """Where what is known of each tensor is, and what says that one is like another than before."""

    def unpack(self, built: tuple[Built, ...], name: str, source: str) -> None:
        """Take the parts of `source`, and compare each."""
        names = [f"{name}_{place}" for place in range(len(built))]
        if names:
            self.lines.append(f"{''.join(f'{name}, ' for name in names)}= {source}")
        for part, how in zip(names, built, strict=True):
            if isinstance(how, tuple):
                self._unpack_inside(part, *how)
            elif how == "tensor":
                self._check(how, part, f"{part}_known")
                self.others.append(f"{part}_known.like is not likes[{self.tensors}]")
                self.tensors += 1
            elif isinstance(how, str):
                self._check(how, part)
                self.parts += 1
            else:
                self._check("object", part, f"*{part}_known")
                before = f"likes[{self.tensors}:{self.tensors + how}]"
                self.others.append(f"tuple(map(like_of, {part}_known)) != {before}")
                self.tensors += how
                self.parts += 1

    def _check(self, kind: str, part: str, *noted: str) -> None:
        self.lines += [line.replace("@", part).replace("#", str(self.parts)) for line in _CHECKS[kind]]
        self.noted += noted

    def _unpack_inside(self, part: str, kind: str, inside: tuple[Built, ...]) -> None:
        if kind == "slice":
            self.lines.append(f"if type({part}) is not slice: return None")
            self.unpack(inside, part, f"({part}.start, {part}.stop, {part}.step)")
        else:
            self.lines.append(f"if type({part}) is not {kind} or len({part}) != {len(inside)}: return None")
            self.unpack(inside, part, part)


@lru_cache(maxsize=512)
def _comparison(args: tuple[Built, ...], by_name: tuple[Built, ...]) -> Compare:
    """The function that compares arguments which are built in this way."""
    text = _Text()
    text.unpack(args, "arg", "args")
    text.unpack(by_name, "named", "kwargs.values()")
    names = "not kwargs or tuple(kwargs) != given.names" if by_name else "kwargs"
    noted = f"[{', '.join(text.noted)}]" if text.noted else "()"
    lines = [
        "def compare(args, kwargs, given, table):",
        f"if len(args) != {len(args)} or {names}: return None",
        "known, parts = table.known.get, given.parts",
        "likes, leaves = given.described",
        *text.lines,
        *([f"if {' or '.join(text.others)}: leaves = given.of_others({noted}, table)"] if text.others else []),
        f"return leaves, {text.noted[0] if len(text.noted) == 1 and text.noted[0][0] != '*' else noted}",
    ]
    made: dict[str, Compare] = {}
    exec(compile("\n    ".join(lines), __file__, "exec"), _NAMES, made)
    return made["compare"]
