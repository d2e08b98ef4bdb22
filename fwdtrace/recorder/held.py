"""The tensors that modules hold, each with its place: as parameters, as buffers, or as other attributes."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from fwdtrace.recorder.notes import SeenModule
from fwdtrace.recorder.session import Session

_NEVER_A_TENSOR = frozenset(nn.Module.__annotations__)
"""The attributes that torch gives every module."""


class Held(NamedTuple):
    """The place of a tensor in a module; its kind is the field of a Source that names it."""

    seen: SeenModule
    kind: str
    name: str

    def content(self) -> Any:
        """What is in the place now."""
        module = self.seen.module()
        if module is None:
            return None
        own = module.__dict__
        return own.get(self.name) if self.kind == "attribute" else dict(own.get(f"_{self.kind}s", {})).get(self.name)


def all_held(session: Session) -> list[tuple[Tensor, Held]]:
    """Every tensor that an observed module holds, with its place."""
    return [pair for seen in list(session.seen.values()) for pair in held_by(seen)]


def places_by_tensor(pairs: list[tuple[Tensor, Held]]) -> dict[int, Held]:
    """The places of tensors by their identity; the first place of a tensor that several modules hold."""
    return {id(tensor): held for tensor, held in reversed(pairs)}


def held_by(seen: SeenModule) -> list[tuple[Tensor, Held]]:
    """The tensors that a module itself holds, with their places."""
    module = seen.module()
    if module is None:
        return []
    own = module.__dict__
    tables = ("parameter", own.get("_parameters")), ("buffer", own.get("_buffers"))
    held = [
        (value, Held(seen, kind, name))
        for kind, table in tables
        if table
        for name, value in table.items()
        if isinstance(value, Tensor)
    ]
    plain = {name for name in own.keys() - _NEVER_A_TENSOR if isinstance(own[name], Tensor)}
    return held + [(own[name], Held(seen, "attribute", name)) for name in own if name in plain] if plain else held
