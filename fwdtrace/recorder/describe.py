"""Takes apart what went into a call or came out of it: tensors with their names, and the short text of all else."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor

from fwdtrace.recorder.objects import ObjectReader
from fwdtrace.recorder.parts import MOST_SCALARS, SCALARS, kind_of, parts_of, shortened, text_of
from fwdtrace.recorder.torch_internals import without_torch_function
from fwdtrace.trace import Leaf, Operand

Leaves = tuple[Leaf, ...]
N = TypeVar("N", Leaf, Operand)


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of a call's result, in the order of the leaves that describe it."""
    if type(value) is Tensor:
        return [value]
    try:
        return [part for _, part in walk(value, "") if isinstance(part, Tensor)]
    except Exception:  # a stranger's object, as where it is described
        return []


def unseen_tensors_of(value: Any) -> list[Tensor]:
    """The same tensors, read so that no function of a tensor's own class notices."""
    with without_torch_function():
        return tensors_of(value)


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


def walk(
    value: Any, name: str, above: tuple[int, ...] = (), reader: ObjectReader | None = None
) -> Iterator[tuple[str, Tensor | str]]:
    """The leaves with their names: the tensors themselves, and the text of what is none.

    The reader is asked for what is in an object; one that has read others of the same class finds it sooner.
    """
    kind = kind_of(type(value))
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
        yield from (reader or ObjectReader()).leaves_in(value, name) if kind != "sealed" else [(name, text_of(value))]
        return
    if not children:
        yield name, text_of(value)
        return
    if len(children) > MOST_SCALARS and all(isinstance(child, SCALARS) for _, child in children):
        first = ", ".join(shortened(repr(child), 12) for _, child in children[:3])
        yield name, f"[{first}, … {len(children)} items]"
        return
    for suffix, child in children:
        yield from walk(child, name + suffix, above, reader)


def size_of(size: Any) -> int:
    """The size of a dimension; a symbol is what it stands for, -1 if that is not known."""
    if type(size) is int:
        return size
    node = getattr(size, "node", None)
    hint = getattr(node, "hint", None)
    return hint if type(hint) is int else -1


def nested_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a nested tensor; a ragged dimension is -1."""
    sizes = []
    for dimension in range(tensor.dim()):
        try:
            sizes.append(tensor.size(dimension))
        except RuntimeError:  # this dimension is ragged
            sizes.append(-1)
    return tuple(sizes)
