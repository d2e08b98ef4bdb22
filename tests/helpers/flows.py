"""Small models with ops of their own, recorded, and the data flow of the trace as lines that can be counted by hand."""

from __future__ import annotations

from typing import Any

from torch import nn

import fwdtrace
from fwdtrace.trace import Event, Leaf, Op, TensorMeta, Trace

KINDS = ("argument", "parameter", "buffer", "attribute", "hook")


class Net(nn.Module):
    """A model with one layer, so that its ops are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)


def recorded(model: nn.Module, *args: Any, **kwargs: Any) -> Trace:
    with fwdtrace.record(model, ops=True) as recording:
        model(*args, **kwargs)
    return recording.trace


def said(leaf: Leaf) -> str:
    """`12.0` for an output of an event, `argument x`, `parameter weight`; `!17` was changed, `of 1` by call 1."""
    assert isinstance(leaf, TensorMeta)
    source = leaf.source
    if source is None:
        text = "?"
    elif source.id is not None:
        text = f"{source.id}.{source.output}" + (f" by {source.hook.rpartition('.')[2]}" if source.hook else "")
        text += f" of {source.call}" if source.call is not None else ""
    else:
        text = next(f"{kind} {getattr(source, kind)}" for kind in KINDS if getattr(source, kind) is not None)
    return text if leaf.changed_by is None else f"{text} !{leaf.changed_by}"


def flow(trace: Trace) -> list[str]:
    """Every event with what went in and what came out."""
    return [f"{event.id} {name(event)}({sides(event.inputs)}) -> {sides(event.outputs)}" for event in trace.events]


def name(event: Event) -> str:
    return event.name if isinstance(event, Op) else event.path or event.class_name


def sides(leaves: tuple[Leaf, ...]) -> str:
    return ", ".join(said(leaf) for leaf in leaves if isinstance(leaf, TensorMeta))
