"""What a value is made of: whether it is a container, its parts, and the short text of what is none."""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

LONGEST_TEXT = 60
MOST_SCALARS = 32
"""A list of more numbers or strings than this is one leaf: token lists are data, not structure."""

SCALARS = (type(None), bool, int, float, complex, str, bytes)
_SAFE_REPRS = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, slice, range, os.PathLike)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_TEXT_IS_REPR = (*SCALARS, *_SAFE_REPRS, enum.Enum)
_SEALED = (*SCALARS, *_SAFE_REPRS, *_FUNCTIONS, type(...), type, ModuleType, nn.Module)


def parts_of(value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a container with the suffix that names each; None if the value is no container."""
    kind = kind_of(type(value))
    if kind == "mapping":
        return [(f".{key}" if isinstance(key, str) else f"[{text_of(key)}]", item) for key, item in value.items()]
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


kind_of: Callable[[type], str] = lru_cache(maxsize=1000)(_kind_of)


def _has_tensor(items: list[Any]) -> bool:
    return any(isinstance(item, Tensor) for item in items)


def text_of(value: Any) -> str:
    """The short text of a value that is described as one leaf."""
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
