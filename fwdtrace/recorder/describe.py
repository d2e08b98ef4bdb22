"""Takes apart what went into a call or came out of it: tensors with their names, and the short text of all else."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fwdtrace.trace import Leaf, Operand

Leaves = tuple[Leaf, ...]
N = TypeVar("N", Leaf, Operand)

LONGEST_TEXT = 60
MOST_SCALARS = 32
"""A list of more numbers or strings than this is one leaf: token lists are data, not structure."""
MOST_IN_OBJECT = 8
"""Tensors described of one opaque object: a key-value cache goes into every layer and holds two for each."""
MOST_VISITED = 200
DEEPEST_OBJECT = 5

SCALARS = (type(None), bool, int, float, complex, str, bytes)
_SAFE_REPRS = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, slice, range, os.PathLike)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_TEXT_IS_REPR = (*SCALARS, *_SAFE_REPRS, enum.Enum)
_SEALED = (*SCALARS, *_SAFE_REPRS, *_FUNCTIONS, type, ModuleType, nn.Module)


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of a call's result, in the order of the leaves that describe it."""
    if type(value) is Tensor:
        return [value]
    try:
        return [part for _, part in walk(value, "") if isinstance(part, Tensor)]
    except Exception:  # a stranger's object, as where it is described
        return []


def named_by_parameters(leaves: tuple[N, ...], parameters: tuple[str, ...], variadic: str) -> tuple[N, ...]:
    """The leaves with positions replaced by parameter names; what overflows goes to `variadic`, as in `args[0]`."""
    if not any(leaf.name[:1].isdigit() for leaf in leaves):
        return leaves
    return tuple(
        dataclasses.replace(leaf, name=name_by_parameters(leaf.name, parameters, variadic))
        if leaf.name[:1].isdigit()
        else leaf
        for leaf in leaves
    )


def positional_names(forward: Any) -> tuple[tuple[str, ...], str]:
    """The names of the parameters of a `forward` that take positions, and of the one that takes the rest."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())[1:] if callable(forward) else []
    except (TypeError, ValueError):  # written in C
        parameters = []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = tuple(parameter.name for parameter in parameters if parameter.kind in positional)
    rest = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.VAR_POSITIONAL]
    return names, rest[0] if rest else "args"


def name_by_parameters(name: str, parameters: tuple[str, ...], variadic: str) -> str:
    """The name of a leaf with its position replaced by a parameter's name; what overflows goes to `variadic`."""
    if not name[:1].isdigit():
        return name
    digits = len(name) - len(name.lstrip("0123456789"))
    position, rest = int(name[:digits]), name[digits:]
    if position < len(parameters):
        return parameters[position] + rest
    return f"{variadic}[{position - len(parameters)}]{rest}"


def walk(value: Any, name: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Tensor | str]]:
    """The leaves with their names: the tensors themselves, and the text of what is none."""
    kind = _kind(type(value))
    if kind == "tensor":
        yield name, value
        return
    if isinstance(value, SCALARS):
        yield name, shortened(repr(value))
        return
    if id(value) in above:
        yield name, "<cycle>"
        return
    above = (*above, id(value))
    children = parts_of(value) if kind != "object" else None
    if children is None:
        yield from _object_leaves(value, name, kind)
        return
    if not children:
        yield name, _text(value)
        return
    if len(children) > MOST_SCALARS and all(isinstance(child, SCALARS) for _, child in children):
        first = ", ".join(shortened(repr(child), 12) for _, child in children[:3])
        yield name, f"[{first}, … {len(children)} items]"
        return
    for suffix, child in children:
        yield from walk(child, name + suffix, above)


def parts_of(value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a container with the suffix that names each; None if the value is no container."""
    kind = _kind(type(value))
    if kind == "mapping":
        return [(f".{key}" if isinstance(key, str) else f"[{_text(key)}]", item) for key, item in value.items()]
    if kind == "named tuple":
        return [(f".{field}", item) for field, item in zip(value._fields, value, strict=False)]
    if kind == "set":
        # In the order of the set, which has none of its own; a set without a tensor is a text like any other object.
        items = list(value)
        return [(f"[{index}]", item) for index, item in enumerate(items)] if _has_tensor(items) else None
    if kind == "sequence":
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if kind == "dataclass":
        return [(f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return None


def _kind_of(cls: type) -> str:
    """What the values of a class are to us; to ask it of every value takes long."""
    if issubclass(cls, Tensor):
        return "tensor"
    if issubclass(cls, Mapping):
        return "mapping"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "named tuple"
    if issubclass(cls, (list, tuple)) and not issubclass(cls, torch.Size):
        return "sequence"
    if issubclass(cls, (set, frozenset)):
        return "set"
    if issubclass(cls, _SEALED):
        return "sealed"
    return "dataclass" if dataclasses.is_dataclass(cls) else "object"


_kind: Callable[[type], str] = lru_cache(maxsize=1000)(_kind_of)


def _has_tensor(items: list[Any]) -> bool:
    return any(isinstance(item, Tensor) for item in items)


def _object_leaves(value: Any, name: str, kind: str) -> list[tuple[str, Tensor | str]]:
    found: list[tuple[str, Tensor | str]] = []
    if kind != "sealed":
        _add_tensors_in(value, name, kind, (id(value),), [MOST_VISITED], found)
    if not found:
        return [(name, _text(value))]
    if len(found) > MOST_IN_OBJECT:
        found[MOST_IN_OBJECT:] = [(name, f"{_text(value)} holds more tensors than these {MOST_IN_OBJECT}")]
    return found


def _add_tensors_in(
    value: Any, name: str, kind: str, above: tuple[int, ...], left: list[int], found: list[tuple[str, Tensor | str]]
) -> None:
    """Add the tensors that an opaque object of this kind holds, one more than are described at most.

    `left` is how many more values may be looked at.
    """
    left[0] -= 1
    if len(above) > DEEPEST_OBJECT or left[0] < 0:
        return
    children, before, after = _children(value, kind)
    for key, child in children:
        kind = _kind(type(child))
        if kind == "sealed":
            left[0] -= 1
        elif kind == "tensor":
            found.append((f"{name}{before}{key}{after}", child))
            left[0] -= 1
            if len(found) > MOST_IN_OBJECT:
                return
        elif id(child) not in above:
            _add_tensors_in(child, f"{name}{before}{key}{after}", kind, (*above, id(child)), left, found)
            if len(found) > MOST_IN_OBJECT:
                return


def _children(value: Any, kind: str) -> tuple[Iterable[tuple[Any, Any]], str, str]:
    """The parts or attributes of a value by their keys, and what stands around a key in a name: most need no name."""
    if kind == "sequence":
        return enumerate(value), "[", "]"
    parts = parts_of(value) if kind != "object" else None
    return (parts, "", "") if parts is not None else (_attributes(value).items(), ".", "")


def _attributes(value: Any) -> dict[str, Any]:
    # Through object: a __getattr__ or a property of the user's must not run because somebody watches.
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return dict(attributes) if isinstance(attributes, dict) else {}


def _text(value: Any) -> str:
    if isinstance(value, _TEXT_IS_REPR):
        return shortened(repr(value))
    if isinstance(value, (tuple, list, Mapping)) and not value:
        return "{}" if isinstance(value, Mapping) else "[]" if isinstance(value, list) else "()"
    if type(value) is tuple and all(isinstance(part, SCALARS) for part in value):  # the key of a dict
        return shortened(repr(value))
    if isinstance(value, (type, *_FUNCTIONS)):
        return f"<{value.__qualname__}>"
    return f"{type(value).__name__}(…)"


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
