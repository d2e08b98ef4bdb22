"""What is saved of a training step beside its forward: rows of the file of values, and how they are read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fwdtrace.trace.json_stream import object_of
from fwdtrace.trace.rows import Wrong

if TYPE_CHECKING:
    from fwdtrace.recorder.measures.keeper import Kept
    from fwdtrace.recorder.measures.training_keeper import Held, KeptValues

STEP = ("backward", "state", "gradients")
"""The entries of the file's metadata that are about a step."""


@dataclass(frozen=True)
class SavedHeld:
    """A parameter, a buffer or a gradient by the numbers of its tensors in the file."""

    tensor: int
    sample: int | None = None


@dataclass(frozen=True)
class SavedStep:
    """The gradients of what each call gave, by its id; the parameters and buffers before the call; the gradients."""

    backward: Mapping[int, list[int | None]] = field(default_factory=dict)
    state: Mapping[str, SavedHeld] = field(default_factory=dict)
    gradients: Mapping[str, SavedHeld] = field(default_factory=dict)


def rows_of_step(kept: KeptValues, number_of: Callable[[Kept | None], int | None]) -> dict[str, str]:
    """The metadata of a step as texts; `number_of` puts a tensor into the file and gives its number there."""

    def row(held: Held) -> list[int | None]:
        return [number_of(held.kept), *([number_of(held.sample)] if held.sample is not None else [])]

    rows: dict[str, Any] = {
        "backward": {str(call): list(map(number_of, gradients)) for call, gradients in kept.backward.items()},
        "state": {name: row(held) for name, held in kept.state.items()},
        "gradients": {name: row(held) for name, held in kept.gradients.items()},
    }
    return {name: json.dumps(found) for name, found in rows.items() if found}


def read_step(about: Mapping[str, str], tensors: int) -> SavedStep:
    """What the metadata says of the step; Wrong if that is malformed. `tensors` are in the file."""

    def number(value: Any, place: str) -> int:
        if type(value) is not int or not 0 <= value < tensors:
            raise Wrong(place, f"must be the number of a tensor below {tensors}, not {str(value)[:40]!r}")
        return value

    def held(name: str, row: Any) -> SavedHeld:
        if type(row) is not list or not 1 <= len(row) <= 2:
            raise Wrong(name, "must be the numbers of one or two tensors")
        return SavedHeld(*(number(each, name) for each in row))

    parts = {name: json.loads(about[name], object_pairs_hook=object_of) if name in about else {} for name in STEP}
    return SavedStep(
        {
            int(call): [None if each is None else number(each, f"backward.{call}") for each in gradients]
            for call, gradients in parts["backward"].items()
        },
        {name: held(name, row) for name, row in parts["state"].items()},
        {name: held(name, row) for name, row in parts["gradients"].items()},
    )
