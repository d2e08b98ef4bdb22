"""The leaves that a session has described: repeated shapes are one object each, however many calls have them."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.recorder.alike import LIKE_NOTHING, Alike
from fwdtrace.recorder.describe import Leaves, walk
from fwdtrace.recorder.notes import Known
from fwdtrace.recorder.objects import Layout, ObjectReader, State, named_alike, text_beside
from fwdtrace.recorder.parts import MOST_SCALARS, SCALARS, kind_of, shortened, text_of
from fwdtrace.recorder.tensor_table import TensorTable
from fwdtrace.recorder.torch_internals import torch_function_modes, without_torch_function
from fwdtrace.trace import Leaf, TensorMeta, Value

_DEEPEST_PLAIN = 4
_MOST_KEYS = 10_000
_PLAIN_BOUNDS = {int, type(None)}
_several = object()
_IMMUTABLE = {torch.dtype, torch.device, torch.memory_format, torch.layout, torch.Size, type(...)}


class LeafTable(TensorTable):
    """Describes arguments and results. A second value with the same shapes costs one lookup.

    The tensors that are found on the way are added to a list: as what is known of them, if that is still so.
    """

    __slots__ = ("_objects", "_plain", "_states", "_texts", "_tuples")

    def __init__(self) -> None:
        super().__init__()
        self._objects = ObjectReader()
        self._plain: dict[tuple[Any, ...], Leaves] = {}
        self._states: dict[tuple[Any, ...], State] = {}
        self._texts: dict[tuple[str, str], Value] = {}
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

    def read_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any], found: list[Known | Tensor]) -> Leaves:
        """The leaves of a call's arguments where no mode of torch's listens; its tensors are added to `found`."""
        if len(args) == 1 and not kwargs and type(args[0]) is Tensor:
            tensor = args[0]
            entry = self.known_still(tensor)
            if entry is not None:
                found.append(entry)
                return entry.like.as_input  # type: ignore[no-any-return]
            alike = self.alike_with(tensor)
            if alike is not LIKE_NOTHING:
                found.append(tensor)
                return alike.as_input
        parts: list[Any] = [len(args)]
        is_plain = self._add_to_key(parts, args, found)
        if is_plain and kwargs:
            parts += kwargs
            is_plain = self._add_to_key(parts, kwargs.values(), found)
        if not is_plain:
            return self._described(_named(args, kwargs), found)
        key = tuple(parts)
        return self._described_before(key) or self._remembered(key, self._of_key(_named(args, kwargs), key))

    def read_output(self, value: Any, found: list[Known | Tensor]) -> Leaves:
        """The leaves of a call's result where no mode of torch's listens; its tensors are added to `found`."""
        if type(value) is Tensor:
            alike = self.alike_with(value)
            if alike is LIKE_NOTHING:
                return self._described([("", value)], found)
            found.append(value)
            return alike.as_output
        named = _parts_of_dict(value) if issubclass(type(value), dict) else None
        parts: list[Any] = [name for name, _ in named] if named else []
        values = [part for _, part in named] if named else (value,)
        if not self._add_to_key(parts, values, found):
            return self._described([("", value)], found)
        key = tuple(parts)
        return self._described_before(key) or self._remembered(key, self._of_key(named or [("", value)], key))

    def known_in(self, value: Any, layout: Layout) -> list[Known] | None:
        """What is known of the tensors in an object that is built like this, if all are as they were; else None."""
        tensors = layout.read(value) if layout.read is not None else None
        if tensors is None:
            return None
        known, entries = self.known, []
        for tensor in tensors:
            entry = known.get(id(tensor))
            if entry is None or entry() is not tensor or not entry.like.accepts(tensor):
                return None
            if entry.version >= 0 and entry.version != tensor._version:
                return None
            entries.append(entry)
        return entries

    def layout_of(self, value: Any) -> Layout | None:
        """How an object is built, if it was read and is built like the last one of its class; else None."""
        before = self._objects.tensors_in(value)
        return before[0] if before is not None else None

    def restated(self, leaves: Leaves, likes: Iterable[Alike]) -> Leaves:
        """The same leaves, for tensors that are like these."""
        rest = iter(likes)
        changed = [named_alike(next(rest), leaf.name) if type(leaf) is TensorMeta else leaf for leaf in leaves]
        return self._tuples.setdefault(tuple(map(id, changed)), tuple(changed))

    def _add_to_key(self, parts: list[Any], values: Iterable[Any], found: list[Known | Tensor], depth: int = 0) -> bool:
        """Add all that the leaves of values say: for tensors, scalars and short lists of them; false for all else."""
        last, known = self.last, self.known
        for value in values:
            kind = type(value)
            if kind is Tensor or kind is nn.Parameter:
                entry = known.get(id(value))
                if (
                    entry is not None
                    and entry() is value
                    and entry.like.accepts(value)
                    and (entry.version < 0 or entry.version == value._version)
                ):
                    parts.append(entry.like)
                    found.append(entry)
                    continue
                if not last.accepts(value):
                    alike = self.unlike_last(value)
                    if alike is None:
                        return False
                    last = alike
                parts.append(last)
                found.append(value)
            elif kind is int or kind is bool or value is None:
                parts += (kind, value)
            elif kind is tuple or kind is list:
                if not value:  # whose text says which of the two it is
                    parts += (0, kind)
                    continue
                if len(value) > MOST_SCALARS or depth == _DEEPEST_PLAIN:
                    return False
                parts += (tuple, len(value))
                if not self._add_to_key(parts, value, found, depth + 1):
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
            elif depth or kind_of(kind) != "object":
                return False
            else:
                state = self._state_of(value, found)
                if state is None:
                    return False
                parts.append(state)
                last = self.last
        return True

    def _state_of(self, value: Any, found: list[Known | Tensor]) -> State | None:
        """What an object is like that is built like the one before of its class; else None."""
        before = self._objects.tensors_in(value)
        if before is None:
            return None
        layout, tensors = before
        parts: list[Any] = [layout]
        if not self._add_to_key(parts, tensors, found, 1):
            return None
        key = tuple(parts)
        state = self._states.get(key)
        if state is None:
            text = text_beside(value, len(layout.names))
            state = State(tuple(zip(layout.names, parts[1:], strict=False)), text[0] if text else None)
            if len(self._states) < _MOST_KEYS:
                self._states[key] = state
        return state

    def _described_before(self, key: tuple[Any, ...]) -> Leaves | None:
        try:
            return self._plain.get(key)
        except TypeError:  # a shape with a symbol in it has no hash
            return None

    def _remembered(self, key: tuple[Any, ...], leaves: Leaves) -> Leaves:
        if len(self._plain) < _MOST_KEYS:  # a value that is another in each call would fill the memory
            with contextlib.suppress(TypeError):
                self._plain[key] = leaves
        return leaves

    def _of_key(self, named: list[tuple[str, Any]], key: tuple[Any, ...]) -> Leaves:
        """The leaves of values that a key describes, which has of each tensor and object what it is like."""
        likes = iter([part for part in key if type(part) is Alike or type(part) is State])
        leaves: list[Leaf] = []
        for name, value in named:
            self._add_plain(leaves, name, value, likes)
        return self._tuples.setdefault(tuple(map(id, leaves)), tuple(leaves))

    def _add_plain(self, leaves: list[Leaf], name: str, value: Any, likes: Iterator[Any]) -> None:
        """Add the leaves of one of them, as `walk` finds them."""
        kind = type(value)
        if kind is Tensor or kind is nn.Parameter:
            leaves.append(named_alike(next(likes), name))
        elif kind in SCALARS:
            leaves.append(self._value(name, shortened(repr(value))))
        elif (kind is tuple or kind is list) and value:
            for place, part in enumerate(value):
                self._add_plain(leaves, f"{name}[{place}]", part, likes)
        elif kind_of(kind) == "object":
            leaves += self._of_state(next(likes), name)
        else:
            leaves.append(self._value(name, text_of(value)))

    def _of_state(self, state: State, name: str) -> Leaves:
        """The leaves of an object that is like this, under this name."""
        leaves = state.named.get(name)
        if leaves is None:
            tensors = [named_alike(like, name + suffix) for suffix, like in state.tensors]
            if state.text is not None:
                tensors.append(self._value(name, state.text))
            leaves = state.named[name] = tuple(tensors)
        return leaves

    def _described(self, named: list[tuple[str, Any]], found: list[Known | Tensor]) -> Leaves:
        leaves: list[Leaf] = []
        found.clear()
        # A subclass or mode of the user's must not see us read attributes: their model did not do that.
        with without_torch_function():
            plain: list[tuple[str, Any]] = []
            parts: list[Any] = [_several]
            for name, value in named:
                if kind_of(type(value)) != "object":
                    parts_before, found_before = len(parts), len(found)
                    parts.append(name)
                    if self._add_to_key(parts, (value,), found):
                        plain.append((name, value))
                        continue
                    del parts[parts_before:], found[found_before:]
                if plain:
                    leaves += self._of_plain(plain, parts)
                    plain, parts = [], [_several]
                leaves += self._of_object(name, value, found)
            if plain:
                leaves += self._of_plain(plain, parts)
        return self._tuples.setdefault(tuple(map(id, leaves)), tuple(leaves))

    def _of_plain(self, named: list[tuple[str, Any]], parts: list[Any]) -> Leaves:
        """The leaves of arguments that stand between others, and that a key describes."""
        key = tuple(parts)
        before = self._described_before(key)
        if before is not None:
            return before
        return self._remembered(
            key, tuple([self._leaf(*part, []) for name, value in named for part in walk(value, name)])
        )

    def _of_object(self, name: str, value: Any, found: list[Known | Tensor]) -> Leaves:
        """The leaves of one argument that needs a closer look."""
        before = len(found)
        try:
            if kind_of(type(value)) == "object":
                parts = self._objects.leaves_in(value, name)
            else:
                parts = list(walk(value, name, (), self._objects))
            return tuple([self._leaf(place, part, found) for place, part in parts])
        except Exception:  # a stranger's object: that it cannot be described must not stop the model
            del found[before:]
            return (self._value(name, f"{type(value).__name__}(…)"),)

    def _leaf(self, name: str, part: Tensor | str, found: list[Known | Tensor]) -> Leaf:
        """The leaf of a text, or of a tensor, which is one object for all that are alike and have the same name."""
        if not isinstance(part, Tensor):
            return self._value(name, part)
        entry = self.known_still(part)
        found.append(part if entry is None else entry)
        alike = self.alike_with(part) if entry is None else entry.like
        if alike is LIKE_NOTHING:
            return self.new_tensor(part, name)
        return named_alike(alike, name)

    def _value(self, name: str, text: str) -> Leaf:
        key = (name, text)
        return self._texts.get(key) or self._texts.setdefault(key, Value(name, text))


def _parts_of_dict(value: dict[Any, Any]) -> list[tuple[str, Any]] | None:
    """The parts of a dict that they describe, such as models give; None if to read it might run code of the user's."""
    items: Any = type(value).items
    if items is not dict.items and items is not OrderedDict.items:
        return None
    pairs = list(value.items())
    if {type(key) for key, _ in pairs} != {str} or len(pairs) > MOST_SCALARS:
        return None
    return [(f".{key}", part) for key, part in pairs]


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*((str(index), value) for index, value in enumerate(args)), *kwargs.items()]
