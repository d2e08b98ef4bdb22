"""The leaves that a session has described: repeated shapes are one object each, however many calls have them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.describe import MOST_SCALARS, SCALARS, Leaves, shortened, walk
from fwdtrace.recorder.drafts import plain_tensor
from fwdtrace.recorder.torch_internals import likeness, placed, torch_function_modes, without_torch_function
from fwdtrace.trace import Leaf, Value

_DEEPEST_PLAIN = 4
_MOST_KEYS = 10_000
_PLAIN_BOUNDS = {int, type(None)}
_several = object()
_traits = attrgetter("__class__", "shape", "dtype", "device", "requires_grad", "layout")
_IMMUTABLE = {torch.dtype, torch.device, torch.memory_format, torch.layout, type(...)}


class _Alike:
    """Tensors that are described alike: as the only argument of a call, and as its result.

    `accepts` says quickly whether a value is one of them. It may refuse one that is, where torch treats that otherwise.
    """

    __slots__ = ("accepts", "as_input", "as_output", "named")

    def __init__(self, as_input: Leaves, as_output: Leaves, accepts: Callable[[Any], bool]) -> None:
        self.as_input = as_input
        self.as_output = as_output
        self.accepts = accepts
        self.named: dict[str, Leaf] = {}


class LeafTable:
    """Describes arguments and results. A second value with the same shapes costs one lookup.

    A single tensor is first compared with the one before it: most modules are given what another has just given.
    """

    __slots__ = ("_alike", "_hints", "_leaves", "_made_at", "_plain", "_tuples", "last")

    def __init__(self) -> None:
        self._alike: dict[tuple[Any, ...], _Alike] = {}
        self.last = _Alike((), (), _accepts_nothing)
        # By identity, what a tensor was like when it was last met; what is like that still is accepted quickly.
        self._hints: dict[int, _Alike] = {}
        self._made_at: dict[int, _Alike] = {}
        self._plain: dict[tuple[Any, ...], Leaves] = {}
        self._leaves: dict[tuple[Any, ...], Leaf] = {}
        self._tuples: dict[tuple[int, ...], Leaves] = {}

    def of_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The leaves of a call's arguments; positional ones are named `"0"`, `"1"` until their parameter is known."""
        if torch_function_modes():
            with without_torch_function():  # a mode of the user's must not see us read attributes
                return self.read_inputs(args, kwargs, [])
        return self.read_inputs(args, kwargs, [])

    def of_output(self, value: Any) -> Leaves:
        """The leaves of a call's result; a result that is one tensor is named `""`."""
        if torch_function_modes():
            with without_torch_function():
                return self.read_output(value, [])
        return self.read_output(value, [])

    def read_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]) -> Leaves:
        """The leaves of a call's arguments where no mode of torch's listens; the tensors are added to a list."""
        if len(args) == 1 and not kwargs and type(args[0]) is Tensor:
            alike = self._alike_with(args[0])
            if alike is not None:
                tensors.append(args[0])
                return alike.as_input
        parts: list[Any] = [len(args)]
        is_plain = self._add_to_key(parts, args, tensors)
        if is_plain and kwargs:
            parts += kwargs
            is_plain = self._add_to_key(parts, kwargs.values(), tensors)
        if not is_plain:
            return self._described(_named(args, kwargs), tensors)
        return self._known(parts) or self._remembered(parts, self._described(_named(args, kwargs), tensors))

    def read_output(self, value: Any, tensors: list[Tensor]) -> Leaves:
        """The leaves of a call's result where no mode of torch's listens; the tensors are added to a list."""
        if type(value) is Tensor:
            alike = self._alike_with(value)
            if alike is None:
                return self._described([("", value)], tensors)
            tensors.append(value)
            return alike.as_output
        parts: list[Any] = []
        if not self._add_to_key(parts, (value,), tensors):
            return self._described([("", value)], tensors)
        return self._known(parts) or self._remembered(parts, self._described([("", value)], tensors))

    def output_at(self, place: int, value: Any, tensors: list[Tensor]) -> Leaves:
        """The same of what a place in the code has made, which mostly makes what is like that which it made before."""
        alike = self._made_at.get(place, self.last)
        if alike.accepts(value):
            self.last = self._hints[id(value)] = alike
            tensors.append(value)
            return alike.as_output
        leaves = self.read_output(value, tensors)
        self._made_at[place] = self.last
        return leaves

    def _alike_with(self, tensor: Tensor) -> _Alike | None:
        """How tensors like this one are described; None if only the tensor itself can tell."""
        return self.last if self.last.accepts(tensor) else self._unlike_last(tensor)

    def _unlike_last(self, tensor: Tensor) -> _Alike | None:
        """The same for a tensor that is not like the last one."""
        hint = self._hints.get(id(tensor))
        if hint is not None and hint.accepts(tensor):
            self.last = hint
            return hint
        try:
            traits = _traits(tensor)
            alike = self._alike.get(traits)
        except (RuntimeError, TypeError):  # a nested tensor has no shape, one with a symbol in it no hash
            return None
        if alike is None:
            leaves = (self._new_tensor(tensor, "0"),), (self._new_tensor(tensor, ""),)
            alike = self._alike.setdefault(traits, _Alike(*leaves, likeness(tensor) or _accepts_nothing))
        elif alike is self.last or alike is hint:  # refused, because torch is in another mode now, autocast for one
            alike.accepts = likeness(tensor) or _accepts_nothing
        self.last = self._hints[id(tensor)] = alike
        return alike

    def _add_to_key(self, parts: list[Any], values: Iterable[Any], tensors: list[Tensor], depth: int = 0) -> bool:
        """Add all that the leaves of values say: for tensors, scalars and short lists of them; false for all else."""
        last = self.last
        for value in values:
            kind = type(value)
            if kind is Tensor or kind is nn.Parameter:
                if not last.accepts(value):
                    alike = self._unlike_last(value)
                    if alike is None:
                        return False
                    last = alike
                parts.append(last)
                tensors.append(value)
            elif kind is int or kind is bool or value is None:
                parts += (kind, value)
            elif kind is tuple or kind is list:
                if not value:  # whose text says which of the two it is
                    parts += (0, kind)
                    continue
                if len(value) > MOST_SCALARS or depth == _DEEPEST_PLAIN:
                    return False
                parts += (tuple, len(value))
                if not self._add_to_key(parts, value, tensors, depth + 1):
                    return False
                last = self.last
            elif kind is slice:  # it has no hash of its own
                start, stop, step = value.start, value.stop, value.step
                parts += (slice, start, stop, step)
                if not {type(start), type(stop), type(step)} <= _PLAIN_BOUNDS:
                    return False
            elif kind in _IMMUTABLE:
                parts += (kind, value)
            elif kind in SCALARS:
                parts += (kind, shortened(repr(value)))
            else:
                return False
        return True

    def _known(self, parts: list[Any]) -> Leaves | None:
        try:
            return self._plain.get(tuple(parts))
        except TypeError:  # a shape with a symbol in it has no hash
            return None

    def _remembered(self, parts: list[Any], leaves: Leaves) -> Leaves:
        if len(self._plain) < _MOST_KEYS:  # a value that is another in each call would fill the memory
            with contextlib.suppress(TypeError):
                self._plain[tuple(parts)] = leaves
        return leaves

    def _described(self, named: list[tuple[str, Any]], tensors: list[Tensor]) -> Leaves:
        leaves: list[Leaf] = []
        tensors.clear()
        # A subclass or mode of the user's must not see us read attributes: their model did not do that.
        with without_torch_function():
            plain: list[tuple[str, Any]] = []
            parts: list[Any] = [_several]
            for name, value in named:
                parts_before, tensors_before = len(parts), len(tensors)
                parts.append(name)
                if self._add_to_key(parts, (value,), tensors):
                    plain.append((name, value))
                    continue
                del parts[parts_before:], tensors[tensors_before:]
                if plain:
                    leaves += self._of_plain(plain, parts)
                    plain, parts = [], [_several]
                leaves += self._of_object(name, value, tensors)
            if plain:
                leaves += self._of_plain(plain, parts)
        return self._tuples.setdefault(tuple(map(id, leaves)), tuple(leaves))

    def _of_plain(self, named: list[tuple[str, Any]], parts: list[Any]) -> Leaves:
        """The leaves of arguments that stand between others, and that a key describes."""
        known = self._known(parts)
        if known is not None:
            return known
        return self._remembered(
            parts, tuple([self._leaf(*found) for name, value in named for found in walk(value, name)])
        )

    def _of_object(self, name: str, value: Any, tensors: list[Tensor]) -> Leaves:
        """The leaves of one argument that needs a closer look."""
        try:
            found = list(walk(value, name))
            leaves = tuple([self._leaf(place, part) for place, part in found])
        except Exception:  # a stranger's object: that it cannot be described must not stop the model
            return (self._value(name, f"{type(value).__name__}(…)"),)
        tensors += [part for _, part in found if isinstance(part, Tensor)]
        return leaves

    def _leaf(self, name: str, part: Tensor | str) -> Leaf:
        return self._tensor(part, name) if isinstance(part, Tensor) else self._value(name, part)

    def _tensor(self, tensor: Tensor, name: str) -> Leaf:
        """The leaf of a tensor, which is one object for all that are alike and have the same name."""
        if type(tensor) is not Tensor:
            return self._new_tensor(tensor, name)
        alike = self.last if self.last.accepts(tensor) else self._unlike_last(tensor)
        if alike is None:
            return self._new_tensor(tensor, name)
        return alike.named.get(name) or alike.named.setdefault(name, self._new_tensor(tensor, name))

    def _new_tensor(self, tensor: Tensor, name: str) -> Leaf:
        layout = str(tensor.layout).removeprefix("torch.")
        try:
            shape = tuple(map(_size, tensor.shape))
        except RuntimeError:
            shape, layout = _nested_shape(tensor), "nested"
        placements, local_shape = ((), None) if type(tensor) is Tensor else placed(tensor)
        key = (name, shape, tensor.dtype, tensor.device, tensor.requires_grad, layout, placements, local_shape)
        leaf = self._leaves.get(key)
        if leaf is None:
            dtype, gradient = str(tensor.dtype).removeprefix("torch."), bool(tensor.requires_grad)
            leaf = plain_tensor(name, shape, dtype, str(tensor.device), gradient, layout)
            if local_shape is not None:
                leaf = replace(leaf, placements=placements, local_shape=local_shape)
            self._leaves[key] = leaf
        return leaf

    def _value(self, name: str, text: str) -> Leaf:
        key = (name, text)
        return self._leaves.get(key) or self._leaves.setdefault(key, Value(name, text))


def _accepts_nothing(value: Any) -> bool:
    return False


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*((str(index), value) for index, value in enumerate(args)), *kwargs.items()]


def _size(size: Any) -> int:
    if type(size) is int:
        return size
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
