"""What reads the weights of a module without calling it, as far as the data flow tells."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

from fwdtrace.trace import Event, Leaf, TensorMeta, Trace, tensors_in
from fwdtrace.trace.mechanisms import Mechanism, mechanism_of
from fwdtrace.trace.text import line_in_brackets, name_of

MOST_STEPS = 16
"""Steps back from a tensor without values to what holds it: views of a weight are few."""
_LOADER = Mechanism(
    "what loads the weights",
    "they had no values then, on meta, so this was computed from memory that was never filled",
    "call the module itself",
)
"""What is said of weights without values where it is not known who loads them."""


@dataclass(frozen=True)
class Reading:
    """A call or op that was given a tensor which a module holds, by its qualified name."""

    event: Event
    name: str


def readings(trace: Trace) -> dict[str, list[Reading]]:
    """By the path of a module: who was given a tensor of it, outside of its own calls."""
    found: dict[str, list[Reading]] = {}
    for event in trace.events:
        for leaf in tensors_in(event.inputs):
            name = _held_as(leaf)
            if (path := name.rpartition(".")[0]) and all(call.path != path for call in trace.callers(event)):
                found.setdefault(path, []).append(Reading(event, name))
    return found


def _held_as(leaf: TensorMeta) -> str:
    """The qualified name by which a module holds the tensor."""
    source = leaf.source
    return (source and (source.parameter or source.buffer or source.attribute)) or ""


def _without_values(trace: Trace) -> dict[str, Reading]:
    """By the path of a module: who computed numbers from a tensor of it that had none, as it was on meta."""
    found: dict[str, Reading] = {}
    given = chain.from_iterable(map(attrgetter("inputs"), trace.events))
    if "meta" not in map(attrgetter("device"), filter(TensorMeta.__instancecheck__, given)):
        return found  # as mostly
    for event in trace.events:
        empty = _first_on_meta(event.inputs)
        if empty is None or trace.made_by(event) or _takes_shapes_alone(name_of(event)):
            continue
        if all(leaf.device == "meta" for leaf in tensors_in(event.outputs)):
            continue
        for _ in range(MOST_STEPS):
            name = _held_as(empty) if empty is not None else ""
            maker = trace.flow.producer(empty) if empty is not None else None
            if path := name.rpartition(".")[0]:
                found.setdefault(path, Reading(event, name))
            if name or maker is None:
                break
            empty = _first_on_meta(maker.inputs)
    return found


def _first_on_meta(leaves: tuple[Leaf, ...]) -> TensorMeta | None:
    return next((leaf for leaf in tensors_in(leaves) if leaf.device == "meta"), None)


def _takes_shapes_alone(name: str) -> bool:
    """Whether an op makes a tensor like another one, of which it needs no values."""
    return name.endswith("_like") or ".new_" in name


def unmade(trace: Trace) -> dict[str, tuple[Reading, Mechanism]]:
    """By the path of a module: the reading for which a mechanism would have had to act, which does so in its call."""
    hooks = {module.path: module.hooks for module in trace.uncalled}
    mechanisms = {path: list(filter(None, map(mechanism_of, of))) for path, of in hooks.items()}
    found: dict[str, tuple[Reading, Mechanism]] = {}
    for path, reading in _without_values(trace).items():
        found[path] = reading, next((one for one in mechanisms.get(path, ()) if one.loads_weights), _LOADER)
    making = {path: one for path, of in mechanisms.items() for one in of if one.makes_weights and path not in found}
    read = readings(trace) if making else {}
    return found | {path: (read[path][0], mechanism) for path, mechanism in making.items() if path in read}


def reader_text(trace: Trace, reading: Reading) -> str:
    """`F.linear in the model (line 13)`."""
    event, caller = reading.event, trace.caller(reading.event)
    inside = f" in {name_of(caller)}" if caller is not None else ""
    return f"{name_of(event)}{inside}{line_in_brackets(event)}"
