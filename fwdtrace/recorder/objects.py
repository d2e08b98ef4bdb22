"""The tensors in objects that are no containers, such as a key-value cache, which goes into every layer of a model."""

from __future__ import annotations

import enum
from collections.abc import Iterable
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


class Layout:
    """How an object was built: its class, the keys and the types of its parts, and where among them the tensors were.

    A step is the place of a part, and the layout of what was looked into, or None if the part is a tensor. `names` has
    how the tensors are called behind the name of the object; the layouts in another's have none.
    """

    __slots__ = ("keys", "kind", "names", "steps", "types")

    def __init__(self, kind: type, keys: tuple[str, ...] | None, types: tuple[type, ...]) -> None:
        self.kind = kind
        self.keys = keys
        self.types = types
        self.steps: list[tuple[int, Layout | None]] = []
        self.names: list[str] = []


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
        if before is not None:
            names, tensors = before[0].names, before[1]
        else:
            search = _Search()
            layout = search.inside(value, "object", "", (id(value),))
            layout.names, tensors = search.names, search.tensors
            names = layout.names
            self._layouts.pop(type(value), None)
            if search.is_regular and not isinstance(value, enum.Enum):  # whose members have texts of their own
                self._layouts[type(value)] = layout
        described: Found = [
            (name + suffix, tensor) for suffix, tensor in zip(names, tensors[:MOST_IN_OBJECT], strict=False)
        ]
        return described + [(name, text) for text in text_beside(value, len(names))]

    def tensors_in(self, value: Any) -> tuple[Layout, list[Tensor]] | None:
        """The layout and the tensors of an object that is built like the one before of its class; else None."""
        layout = self._layouts.get(type(value))
        tensors = self.tensors_by(value, layout) if layout is not None else None
        return (layout, tensors) if layout is not None and tensors is not None else None

    def tensors_by(self, value: Any, layout: Layout) -> list[Tensor] | None:
        """The tensors in an object that are described, if it is built like this; else None."""
        tensors: list[Tensor] = []
        if type(value) is not layout.kind or not _add_by_layout(value, layout, tensors):
            return None
        return tensors[:MOST_IN_OBJECT]


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


def _add_by_layout(value: Any, layout: Layout, tensors: list[Tensor]) -> bool:
    """Add the tensors in a value to those found; false if it is built otherwise."""
    if layout.keys is None:
        parts = tuple(value)
    else:
        attributes = _attributes(value)
        if attributes is None or tuple(attributes) != layout.keys:
            return False
        parts = tuple(attributes.values())
    if tuple(map(type, parts)) != layout.types:
        return False
    for place, step in layout.steps:
        if step is None:
            tensors.append(parts[place])
        elif not _add_by_layout(parts[place], step, tensors):
            return False
    return True


def _attributes(value: Any) -> dict[str, Any] | None:
    # Through object: a __getattr__ or a property of the user's must not run because somebody watches.
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes if isinstance(attributes, dict) else None
