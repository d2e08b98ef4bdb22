"""The tensors in objects that are no containers, such as a key-value cache, which goes into every layer of a model."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.alike import Alike
from fwdtrace.recorder.drafts import renamed
from fwdtrace.recorder.parts import SCALARS, kind_of, parts_of, text_of
from fwdtrace.trace import Leaf

Found = list[tuple[str, Tensor | str]]

MOST_IN_OBJECT = 8
"""Tensors described of one opaque object: a key-value cache goes into every layer and holds two for each."""
MOST_VISITED = 200
DEEPEST_OBJECT = 5

_HOLD_NOTHING = frozenset((*SCALARS, torch.dtype, torch.device))
"""Most attributes are of these types, and are no tensors and hold none."""


@dataclass
class Layout:
    """How an object was built: its class, the keys and the types of its parts, and where among them the tensors were.

    A step is the place of a part, and the layout of what was looked into, or None if the part is a tensor. `names` has
    how the tensors are called behind the name of the object; the layouts in another's have none. `read`, which is made
    once an object is found that is built like the one before, gives the tensors of another such, and None of any other.
    """

    kind: type
    keys: tuple[str, ...] | None
    types: tuple[type, ...]
    steps: list[tuple[int, Layout | None]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    read: Callable[[Any], list[Tensor] | None] | None = field(default=None, compare=False)

    __hash__ = object.__hash__


class State:
    """What an object is like: `tensors` are the suffix of the name of each tensor in it and what that one is like.

    `text` stands for what else is in it, if anything does. `named` has the leaves under each name it was given by.
    """

    __slots__ = ("named", "tensors", "text")

    def __init__(self, tensors: tuple[tuple[str, Alike], ...], text: str | None) -> None:
        self.tensors = tensors
        self.text = text
        self.named: dict[str, tuple[Leaf, ...]] = {}


class ObjectReader:
    """Finds the tensors in objects; one that is built like the one before of its class is not searched again."""

    __slots__ = ("_layouts",)

    def __init__(self) -> None:
        self._layouts: dict[type, Layout] = {}

    def leaves_in(self, value: Any, name: str) -> Found:
        """The first tensors in an object with their names, and a text if there are more or none."""
        before = self.tensors_in(value)
        if before is None:
            search = _Search()
            layout = search.inside(value, "object", "", (id(value),))
            layout.names = search.names
            before = layout, search.tensors[:MOST_IN_OBJECT]
            last = self._layouts.pop(type(value), None)
            if search.is_regular and not isinstance(value, enum.Enum):  # whose members have texts of their own
                self._layouts[type(value)] = layout
                layout.read = _reader(layout) if layout == last else None
        layout, tensors = before
        found: Found = [(name + suffix, tensor) for suffix, tensor in zip(layout.names, tensors, strict=False)]
        return found + [(name, text) for text in text_beside(value, len(layout.names))]

    def tensors_in(self, value: Any) -> tuple[Layout, list[Tensor]] | None:
        """The layout and the tensors of an object that is built as two before it were; else None."""
        layout = self._layouts.get(type(value))
        tensors = layout.read(value) if layout is not None and layout.read is not None else None
        return (layout, tensors) if layout is not None and tensors is not None else None


def named_alike(alike: Alike, name: str) -> Leaf:
    """The leaf of a tensor that is like others, under this name."""
    leaf: Leaf | None = alike.named.get(name)
    if leaf is None:
        like: Any = alike.as_output[0]
        leaf = alike.named[name] = renamed(like, name)
    return leaf


def text_beside(value: Any, tensors: int) -> list[str]:
    """The text that stands for what is in an object beside so many tensors; none if those are all."""
    if not tensors:
        return [text_of(value)]
    return [f"{text_of(value)} holds more tensors than these {MOST_IN_OBJECT}"] if tensors > MOST_IN_OBJECT else []


class _Search:
    """One search through an object for its tensors, one more than are described at most."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.names: list[str] = []
        self.is_regular = True
        """Whether the layout says all of how the object is built."""
        self._left = MOST_VISITED - 1

    def inside(self, value: Any, kind: str, name: str, above: tuple[int, ...]) -> Layout:
        """Add the tensors in a value of this kind, which is in those with the ids `above`."""
        named, before, after = self._children(value, kind)
        children = list(named)
        keys = None if kind == "sequence" else tuple([key for key, _ in children])
        layout = Layout(type(value), keys, tuple([type(child) for _, child in children]))
        for place, (key, child) in enumerate(children):
            cls = type(child)
            if cls in _HOLD_NOTHING:
                self._left -= 1
                continue
            kind = kind_of(cls)
            if kind == "tensor":
                self.tensors.append(child)
                self.names.append(f"{name}{before}{key}{after}")
                layout.steps.append((place, None))
                self._left -= 1
            elif kind == "sealed":
                self._left -= 1
            elif id(child) in above:
                self.is_regular = False
            else:
                self._left -= 1
                if len(above) >= DEEPEST_OBJECT or self._left < 0:
                    self.is_regular = False
                    continue
                inner = self.inside(child, kind, f"{name}{before}{key}{after}", (*above, id(child)))
                layout.steps.append((place, inner))
            if len(self.tensors) > MOST_IN_OBJECT:
                break
        return layout

    def _children(self, value: Any, kind: str) -> tuple[Iterable[tuple[Any, Any]], str, str]:
        """The parts or attributes of a value by their keys, and what stands around a key in a name."""
        if kind == "sequence":
            self.is_regular &= type(value) in (list, tuple)
            return enumerate(value), "[", "]"
        parts = parts_of(value) if kind != "object" else None
        if parts is not None:
            self.is_regular = False
            return parts, "", ""
        attributes = _attributes(value)
        self.is_regular &= attributes is not None
        return dict(attributes or {}).items(), ".", ""


def _reader(layout: Layout) -> Callable[[Any], list[Tensor] | None]:
    """The function that reads the tensors which are described of an object, without a loop."""
    text = _ReaderText()
    text.read(layout, "value")
    lines = [*text.lines, f"return [{', '.join(text.tensors[:MOST_IN_OBJECT])}]"]
    exec(_compiled("\n    ".join(["def read(value):", *lines])), text.names)
    return text.names["read"]  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _compiled(text: str) -> CodeType:
    """The code of a text, which is the same for all objects that are built alike of whatever classes."""
    return compile(text, __file__, "exec")


class _ReaderText:
    """The text of such a function, line by line: what it looks up, and where it has found tensors by then."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tensors: list[str] = []
        self.names: dict[str, Any] = {"attributes_of": _attributes}

    def read(self, layout: Layout, name: str) -> None:
        """Take the parts of what has this name, or give up if it is not built like this."""
        self._give_up_if(f"type({name}) is not {self._called(layout.kind)}")
        parts = [f"{name}_{place}" for place in range(len(layout.types))]
        source = name
        if layout.keys is None:
            self._give_up_if(f"len({name}) != {len(parts)}")
        else:
            self.lines.append(f"attributes = attributes_of({name})")
            self._give_up_if(f"attributes is None or tuple(attributes) != {self._called(layout.keys)}")
            source = "attributes.values()"
        if parts:
            self.lines.append(f"{''.join(f'{part}, ' for part in parts)}= {source}")
        inner = dict(layout.steps)
        for place, (part, kind) in enumerate(zip(parts, layout.types, strict=True)):
            if isinstance(step := inner.get(place), Layout):
                self.read(step, part)
                continue
            self._give_up_if(f"type({part}) is not {self._called(kind)}")
            if place in inner:
                self.tensors.append(part)

    def _give_up_if(self, condition: str) -> None:
        self.lines.append(f"if {condition}: return None")

    def _called(self, constant: Any) -> str:
        """The name by which the text has a constant."""
        name = f"constant_{len(self.names)}"
        self.names[name] = constant
        return name


def _attributes(value: Any) -> dict[str, Any] | None:
    # Through object: a __getattr__ or a property of the user's must not run because somebody watches.
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes if isinstance(attributes, dict) else None
