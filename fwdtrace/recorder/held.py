"""The tensors that modules hold, each with its place: as parameters, as buffers, or in other attributes."""

from __future__ import annotations

import itertools
from types import FrameType
from typing import Any, NamedTuple

from torch import Tensor, nn

from fwdtrace.recorder.alike import version_of
from fwdtrace.recorder.notes import SeenModule
from fwdtrace.recorder.parts import SCALARS, text_of
from fwdtrace.recorder.session import Session

_NEVER_A_TENSOR = frozenset(nn.Module.__annotations__)
"""The attributes that torch gives every module."""
_REGISTER_CODE = nn.Module.register_parameter.__code__
_MAY_HOLD = (Tensor, list, tuple, dict)
_HOLDS_NOTHING = frozenset(SCALARS)
_PLAIN = (Tensor, nn.Parameter)
_DEEPEST = 4
_MOST_VISITED = 256
"""Of one attribute: a list of masks is looked through, a vocabulary is not."""


class Held(NamedTuple):
    """The place of a tensor in a module; its kind is the field of a Source that names it.

    `identity` is that of the tensor. `steps` are the indices and keys that lead to it in an attribute that is a
    container.
    """

    seen: SeenModule
    kind: str
    name: str
    identity: int
    steps: tuple[Any, ...] = ()

    def content(self) -> Any:
        """What is in the place now."""
        module = self.seen.module()
        if module is None:
            return None
        own = module.__dict__
        if self.kind != "attribute":
            return dict(own.get(f"_{self.kind}s", {})).get(self.name)
        value = own.get(self.name)
        for step in self.steps:
            value = next((part for other, part in _parts_of(value) if _is_same(other, step)), None)
        return value

    def label(self) -> str:
        """The name of the place in its module: `weight`, `masks[0]`, `caches[1].key`."""
        return self.name + "".join(f".{step}" if isinstance(step, str) else f"[{text_of(step)}]" for step in self.steps)


def about_to_be_replaced(frame: FrameType) -> Any:
    """The parameter whose place another one gets, if the frame is of `Module.register_parameter`; else None."""
    if frame.f_code is not _REGISTER_CODE:
        return None
    return frame.f_locals["self"].__dict__.get("_parameters", {}).get(frame.f_locals["name"])


def all_held(session: Session) -> list[tuple[Tensor, Held]]:
    """Every tensor that an observed module holds, with its place: first as what it is registered."""
    pairs = [pair for seen in list(session.seen.values()) for pair in held_by(seen)]
    return sorted(pairs, key=_how_far)


def places_by_tensor(pairs: list[tuple[Tensor, Held]]) -> dict[int, Held]:
    """The places of tensors by their identity; the first place of a tensor that several modules hold."""
    return {id(tensor): held for tensor, held in reversed(pairs)}


def own_tensors(seen: SeenModule) -> list[Tensor]:
    """What a module holds into which it may write by ops that are not shown."""
    module = seen.module()
    if module is None:
        return []
    tables = [module.__dict__.get(table, {}) for table in seen.writes_unseen]
    return [tensor for table in tables for tensor in list(table.values()) if isinstance(tensor, Tensor)]


def versions_in(seen: SeenModule) -> list[tuple[int, int]]:
    """The identity and version of each of these."""
    tensors = own_tensors(seen)
    try:
        return [(id(each), each._version if type(each) in _PLAIN else version_of(each)) for each in tensors]
    except RuntimeError:  # made in inference mode
        return [(id(each), version_of(each)) for each in tensors]


def held_by(seen: SeenModule) -> list[tuple[Tensor, Held]]:
    """The tensors that a module itself holds, with their places."""
    module = seen.module()
    if module is None:
        return []
    own = module.__dict__
    tables = ("parameter", own.get("_parameters")), ("buffer", own.get("_buffers"))
    held = [
        (value, Held(seen, kind, name, id(value)))
        for kind, table in tables
        if table
        for name, value in table.items()
        if isinstance(value, Tensor)
    ]
    others = {name for name in own.keys() - _NEVER_A_TENSOR if _may_hold(own[name])}
    if others:
        for name in [name for name in own if name in others]:
            held += [
                (tensor, Held(seen, "attribute", name, id(tensor), steps)) for steps, tensor in _tensors_in(own[name])
            ]
    return held


def _may_hold(value: Any) -> bool:
    """Whether there may be a tensor in it: mostly it is a tuple of numbers, such as the stride of a convolution."""
    kind = type(value)
    if kind is tuple or kind is list:
        return len(value) <= _MOST_VISITED and not _HOLDS_NOTHING.issuperset(map(type, value))
    return isinstance(value, _MAY_HOLD)


def _how_far(pair: tuple[Tensor, Held]) -> int:
    return len(pair[1].steps) + (pair[1].kind == "attribute")


def _tensors_in(value: Any) -> list[tuple[tuple[Any, ...], Tensor]]:
    """The tensors in a value with the steps that lead to each; none in a container that has too much in it."""
    found: list[tuple[tuple[Any, ...], Tensor]] = []
    pending: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    visited, entered = 0, set()
    while pending:
        steps, part = pending.pop()
        if isinstance(part, Tensor):
            found.append((steps, part))
        elif len(steps) < _DEEPEST and id(part) not in entered:
            entered.add(id(part))
            parts = _parts_of(part)
            visited += len(parts)
            if visited > _MOST_VISITED:
                return []
            pending += [((*steps, step), inner) for step, inner in reversed(parts) if isinstance(inner, _MAY_HOLD)]
    return found


def _parts_of(value: Any) -> list[tuple[Any, Any]]:
    """The parts of a container with their indices, fields or keys, read by no method of the user's."""
    kind = next((kind for kind in (list, tuple, dict) if isinstance(value, kind)), None)
    if kind is None or kind.__len__(value) > _MOST_VISITED:
        return []
    if kind is dict:
        return list(dict.items(value))
    fields = getattr(type(value), "_fields", None) if kind is tuple else None
    return list(zip(fields or itertools.count(), kind.__iter__(value), strict=False))


def _is_same(step: Any, other: Any) -> bool:
    """Whether they are one index or key; keys of a class of the user's are not compared by their own method."""
    return step is other or (type(step) is type(other) and type(step) in SCALARS and bool(step == other))
