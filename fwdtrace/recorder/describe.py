"""What went into a call and came out of it, as leaves: tensors without their data, and the short repr of all else."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.torch_internals import placed, torch_function_modes, without_torch_function
from fwdtrace.trace import Leaf, TensorMeta, Value

Leaves = tuple[Leaf, ...]

LONGEST_TEXT = 60
MOST_SCALARS = 32
"""A list of more numbers or strings than this is one leaf: token lists are data, not structure."""
MOST_IN_OBJECT = 8
"""Tensors described of one opaque object: a key-value cache goes into every layer and holds two for each."""
MOST_VISITED = 200
DEEPEST_OBJECT = 5

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_SAFE_REPRS = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, slice, range, os.PathLike)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_SEALED = (*_SCALARS, *_SAFE_REPRS, *_FUNCTIONS, type, ModuleType, nn.Module)

# Positional arguments are named by their position here; Python names cannot begin with a digit, so the two never mix.
_FIRST = "0"

_DEEPEST_PLAIN = 4
_MOST_KEYS = 10_000

# Repeated shapes are one object each, however many calls have them.
_single_inputs: dict[tuple[Any, ...], Leaves] = {}
_single_outputs: dict[tuple[Any, ...], Leaves] = {}
_plain: dict[tuple[Any, ...], Leaves] = {}
_leaves: dict[tuple[Any, ...], Leaf] = {}
_tuples: dict[tuple[int, ...], Leaves] = {}


def describe_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
    """The leaves of a call's arguments; positional ones are named `"0"`, `"1"`, … until their parameter is known."""
    if torch_function_modes():
        return _described(_named(args, kwargs))
    if len(args) == 1 and not kwargs and type(args[0]) is Tensor:
        tensor = args[0]
        try:
            key = (tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad, tensor.layout)
            found = _single_inputs.get(key)
            return found or _single_inputs.setdefault(key, (_tensor_leaf(tensor, _FIRST),))
        except (RuntimeError, TypeError):  # a nested tensor has no shape, one with a symbol in it no hash
            return _described(_named(args, kwargs))
    parts: list[Any] = [len(args)]
    for value in args:
        if not _add_to_key(parts, value):
            return _described(_named(args, kwargs))
    for name, value in kwargs.items():
        parts.append(name)
        if not _add_to_key(parts, value):
            return _described(_named(args, kwargs))
    return _known(parts) or _remembered(parts, _described(_named(args, kwargs)))


def describe_output(value: Any) -> Leaves:
    """The leaves of a call's result; a result that is one tensor is named `""`."""
    if torch_function_modes():
        return _described([("", value)])
    if type(value) is Tensor:
        try:
            key = (value.shape, value.dtype, value.device, value.requires_grad, value.layout)
            found = _single_outputs.get(key)
            return found or _single_outputs.setdefault(key, (_tensor_leaf(value, ""),))
        except (RuntimeError, TypeError):
            return _described([("", value)])
    parts: list[Any] = []
    if not _add_to_key(parts, value):
        return _described([("", value)])
    return _known(parts) or _remembered(parts, _described([("", value)]))


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors that `describe_output` describes, in the order of their leaves."""
    try:
        return [part for _, part in _walk(value, "", ()) if isinstance(part, Tensor)]
    except Exception:  # as above: a stranger's object
        return []


def named_by_parameters(leaves: Leaves, parameters: tuple[str, ...], variadic: str) -> Leaves:
    """The leaves with positions replaced by parameter names; what overflows goes to `variadic`, as in `args[0]`."""
    if not any(leaf.name[:1].isdigit() for leaf in leaves):
        return leaves
    return tuple(
        dataclasses.replace(leaf, name=_with_parameter(leaf.name, parameters, variadic))
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


def forget_leaves() -> None:
    """Drop the shared leaves; called when no recording is left that could use them."""
    for cache in (_single_inputs, _single_outputs, _plain, _leaves, _tuples):
        cache.clear()


def _with_parameter(name: str, parameters: tuple[str, ...], variadic: str) -> str:
    digits = len(name) - len(name.lstrip("0123456789"))
    position, rest = int(name[:digits]), name[digits:]
    if position < len(parameters):
        return parameters[position] + rest
    return f"{variadic}[{position - len(parameters)}]{rest}"


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*((str(index), value) for index, value in enumerate(args)), *kwargs.items()]


def _add_to_key(parts: list[Any], value: Any, depth: int = 0) -> bool:
    """Add all that the leaves of a value tell: for tensors, scalars and short lists of them; false for all else."""
    kind = type(value)
    if kind is Tensor or kind is nn.Parameter:
        try:
            parts += (value.shape, value.dtype, value.device, value.requires_grad, value.layout)
        except RuntimeError:  # a nested tensor has no shape
            return False
        return True
    if value is None or kind is bool or kind is int:
        parts += (kind, value)
        return True
    if kind is tuple or kind is list:
        if len(value) > MOST_SCALARS or depth == _DEEPEST_PLAIN or not value:
            return False
        parts += ("(", len(value))
        for child in value:  # noqa: SIM110  (a generator takes longer than what it runs)
            if not _add_to_key(parts, child, depth + 1):
                return False
        return True
    if kind in _SCALARS:
        parts += (kind, _shortened(repr(value)))
        return True
    return False


def _known(parts: list[Any]) -> Leaves | None:
    try:
        return _plain.get(tuple(parts))
    except TypeError:  # a shape with a symbol in it has no hash
        return None


def _remembered(parts: list[Any], leaves: Leaves) -> Leaves:
    if len(_plain) < _MOST_KEYS:  # a value that is another in each call would fill the memory
        with contextlib.suppress(TypeError):
            _plain[tuple(parts)] = leaves
    return leaves


def _described(named: list[tuple[str, Any]]) -> Leaves:
    # What subclasses and modes of the user's would be told of our attribute reads would not be their model's doing.
    with without_torch_function():
        leaves = [leaf for name, value in named for leaf in _leaves_of(value, name)]
    return _tuples.setdefault(tuple(map(id, leaves)), tuple(leaves))


def _leaves_of(value: Any, name: str) -> list[Leaf]:
    try:
        return [_leaf(part, place) for place, part in _walk(value, name, ())]
    except Exception:  # a stranger's object: that it cannot be described must not stop the model
        return [_value_leaf(name, f"{type(value).__name__}(…)")]


def _leaf(part: Tensor | str, name: str) -> Leaf:
    return _tensor_leaf(part, name) if isinstance(part, Tensor) else _value_leaf(name, part)


def _walk(value: Any, name: str, above: tuple[int, ...]) -> Iterator[tuple[str, Tensor | str]]:
    """The leaves with their names: the tensors themselves, and the text of what is none."""
    if isinstance(value, Tensor):
        yield name, value
        return
    if isinstance(value, _SCALARS):
        yield name, _shortened(repr(value))
        return
    if id(value) in above:
        yield name, "<cycle>"
        return
    above = (*above, id(value))
    children = parts_of(value)
    if children is None:
        yield from _object_leaves(value, name)
        return
    if not children:
        yield name, _text(value)
        return
    if len(children) > MOST_SCALARS and all(isinstance(child, _SCALARS) for _, child in children):
        first = ", ".join(_shortened(repr(child), 12) for _, child in children[:3])
        yield name, f"[{first}, … {len(children)} items]"
        return
    for suffix, child in children:
        yield from _walk(child, name + suffix, above)


def parts_of(value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a container with the suffix that names each; None if the value is no container."""
    if isinstance(value, Mapping):
        return [(f".{key}" if isinstance(key, str) else f"[{_text(key)}]", item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{field}", item) for field, item in zip(value._fields, value, strict=False)]
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, nn.Module)):
        return [(f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return None


def _object_leaves(value: Any, name: str) -> Iterator[tuple[str, Tensor | str]]:
    found = list(islice(_tensors_in(value, name, (id(value),), [MOST_VISITED]), MOST_IN_OBJECT + 1))
    yield from found[:MOST_IN_OBJECT]
    if not found:
        yield name, _text(value)
    if len(found) > MOST_IN_OBJECT:
        yield name, f"{_text(value)} holds more tensors than these {MOST_IN_OBJECT}"


def _tensors_in(value: Any, name: str, above: tuple[int, ...], left: list[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors that an opaque object holds; `left` is how many more values may be looked at."""
    left[0] -= 1
    if isinstance(value, Tensor):
        yield name, value
        return
    if isinstance(value, _SEALED) or len(above) > DEEPEST_OBJECT or left[0] < 0:
        return
    children = parts_of(value)
    if children is None:
        children = [(f".{key}", item) for key, item in _attributes(value).items()]
    for suffix, child in children:
        if id(child) not in above:
            yield from _tensors_in(child, name + suffix, (*above, id(child)), left)


def _attributes(value: Any) -> dict[str, Any]:
    # Through object: a __getattr__ or a property of the user's must not run because somebody watches.
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return dict(attributes) if isinstance(attributes, dict) else {}


def _tensor_leaf(tensor: Tensor, name: str) -> Leaf:
    layout = str(tensor.layout).removeprefix("torch.")
    try:
        shape = tuple(size if type(size) is int else _size(size) for size in tensor.shape)
    except RuntimeError:
        shape, layout = _nested_shape(tensor), "nested"
    placements, local_shape = ((), None) if type(tensor) is Tensor else placed(tensor)
    key = (name, shape, tensor.dtype, tensor.device, tensor.requires_grad, layout, placements, local_shape)
    found = _leaves.get(key)
    if found is None:
        dtype, gradient = str(tensor.dtype).removeprefix("torch."), bool(tensor.requires_grad)
        found = TensorMeta(
            name, shape, dtype, str(tensor.device), gradient, layout, placements=placements, local_shape=local_shape
        )
        _leaves[key] = found
    return found


def _size(size: Any) -> int:
    node = getattr(size, "node", None)
    hint = getattr(node, "hint", None)
    return hint if type(hint) is int else -1


def _nested_shape(tensor: Tensor) -> tuple[int, ...]:
    sizes = []
    for dimension in range(tensor.dim()):
        try:
            sizes.append(tensor.size(dimension))
        except RuntimeError:  # this dimension is ragged
            sizes.append(-1)
    return tuple(sizes)


def _value_leaf(name: str, text: str) -> Leaf:
    key = (name, text)
    return _leaves.get(key) or _leaves.setdefault(key, Value(name, text))


def _text(value: Any) -> str:
    if isinstance(value, (*_SCALARS, *_SAFE_REPRS, enum.Enum)):
        return _shortened(repr(value))
    if isinstance(value, (tuple, list, Mapping)) and not value:
        return "{}" if isinstance(value, Mapping) else "[]" if isinstance(value, list) else "()"
    if type(value) is tuple and all(isinstance(part, _SCALARS) for part in value):  # the key of a dict
        return _shortened(repr(value))
    if isinstance(value, (type, *_FUNCTIONS)):
        return f"<{value.__qualname__}>"
    return f"{type(value).__name__}(…)"


def _shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
