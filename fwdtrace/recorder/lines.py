"""What an op at one place in the code was given and gave last: it is mostly given, and gives, what is like that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.describe import Leaves
from fwdtrace.recorder.leaves import Alike
from fwdtrace.recorder.notes import Known

_BY_IDENTITY = frozenset((type(None), bool, float, type(...), torch.dtype, torch.device, torch.memory_format))
_BY_VALUE = frozenset((int, str))
"""Arguments of these types are described by themselves alone."""
_BOUNDS = frozenset((type(None), int))
_PARTED = frozenset((tuple, list, slice, torch.Size))
_DEEPEST = 4
_MOST_PARTS = 64


class Line:
    """What is known of one place: `names` are those of the last arguments, which were given by name.

    `given` has of each argument how it is described if it is a tensor, or else itself; it is None if that does not
    describe them. `inputs` are their leaves, and `made` is what the last result was like if it was one tensor.
    """

    __slots__ = ("given", "inputs", "made", "names")

    def __init__(self, made: Alike) -> None:
        self.given: list[Any] | None = None
        self.inputs: Leaves | None = None
        self.made = made
        self.names: tuple[str, ...] = ()

    def expect(self, values: Sequence[Any], names: tuple[str, ...], inputs: Leaves, entries: Sequence[Known]) -> None:
        """Note what was given now; `entries` is what is known of the tensors in it."""
        rest = iter(entries)
        given = _described(values, rest, 0)
        self.given, self.names, self.inputs = given if next(rest, None) is None else None, names, inputs


class _Parts:
    """In place of a tuple, a list or a slice: its type, and what it had in it."""

    __slots__ = ("given", "kind")

    def __init__(self, kind: type, given: list[Any]) -> None:
        self.kind = kind
        self.given = given


def are_like(values: Iterable[Any], given: list[Any], known: dict[int, Known], found: list[Known]) -> bool:
    """Whether as many values are like those given before; what is known of each tensor is then added to `found`."""
    for value, before in zip(values, given, strict=True):
        if value is before:
            continue
        kind = type(before)
        if kind is Alike:
            entry = known.get(id(value))
            if entry is None or entry.like is not before or entry() is not value or not before.accepts(value):
                return False
            if entry.version >= 0 and entry.version != value._version:
                return False
            found.append(entry)
        elif kind is _Parts:
            if type(value) is not before.kind:
                return False
            parts = (value.start, value.stop, value.step) if before.kind is slice else value
            if len(parts) != len(before.given) or not are_like(parts, before.given, known, found):
                return False
        elif kind is not type(value) or kind not in _BY_VALUE or value != before:
            return False
    return True


def _described(values: Iterable[Any], entries: Iterator[Known], depth: int) -> list[Any] | None:
    """Each value as how it is described if it is a tensor; None if there is more in them than can be compared."""
    given: list[Any] = []
    for value in values:
        kind = type(value)
        if isinstance(value, Tensor):
            entry = next(entries, None)
            if entry is None:
                return None
            given.append(entry.like)
        elif kind in _BY_IDENTITY or kind in _BY_VALUE:
            given.append(value)
        elif kind in _PARTED and depth < _DEEPEST:
            parts = (value.start, value.stop, value.step) if kind is slice else value
            if kind is slice and not {type(part) for part in parts} <= _BOUNDS:
                return None
            inside = _described(parts, entries, depth + 1) if len(parts) <= _MOST_PARTS else None
            if inside is None:
                return None
            given.append(_Parts(kind, inside))
        else:
            return None
    return given
