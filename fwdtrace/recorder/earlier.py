"""What a recording leaves for the next one of the same root: how many calls there were, and which tensors they made."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from fwdtrace.trace import Source

Made = tuple[Callable[[], Any], Source]
"""A weak reference to a tensor, and where it was made."""


class EarlierCalls:
    """The calls of one root that were recorded before. Neither the root nor a tensor lives longer because of it."""

    __slots__ = ("_made", "number", "root")

    def __init__(self, root: weakref.ref[nn.Module]) -> None:
        self.root = root
        self.number = 0
        self._made: dict[int, Made] = {}  # by the identity of the tensor

    def source(self, tensor: Tensor) -> Source | None:
        """Where in the trace of an earlier call this tensor was made; None if no such call made it."""
        made = self._made.get(id(tensor))
        return made[1] if made is not None and made[0]() is tensor else None

    def remember(self, call: int, calls: int, first_id: int, made: Iterable[Made]) -> None:
        """Take over what a recording of so many calls of the root, the first with the number `call`, has made."""
        self.number = max(self.number, call - 1 + max(calls, 1))
        alive = {key: entry for key, entry in self._made.items() if entry[0]() is not None}
        for reference, source in made:
            tensor = reference()
            if tensor is not None and source.id is not None and source.call is None:
                alive[id(tensor)] = reference, replace(source, id=source.id + first_id, call=call)
        self._made = alive


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A tensor that comes back from an earlier call of a root, and where that made it; looked up by its identity."""

    earlier: EarlierCalls
    source: Source


_roots: dict[int, EarlierCalls] = {}


def earlier_calls_of(root: nn.Module) -> EarlierCalls:
    """What is remembered of the calls of this root, by its identity, as long as it lives."""
    key = id(root)
    known = _roots.get(key)
    if known is None or known.root() is not root:
        known = _roots[key] = EarlierCalls(weakref.ref(root, lambda gone: _forget(key, gone)))
    return known


def _forget(key: int, gone: weakref.ref[nn.Module]) -> None:
    known = _roots.get(key)
    if known is not None and known.root is gone:
        del _roots[key]
