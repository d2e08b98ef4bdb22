"""Where an operand, and a size of it, came from: followed back along the data flow, and put into words."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from fwdtrace.trace import Call, Event, Op, Shape, Source, TensorMeta, Trace
from fwdtrace.trace.text import name_of, path_text, shape_text
from fwdtrace.trace.values import tensors_in

MOST_STEPS = 64
"""Steps back from an operand: enough for the deepest block between two layers, and soon over where flow is endless."""

CHOOSE_THEIR_OUTPUT = {
    "Linear": "out_features",
    **{f"Conv{d}d": "out_channels" for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": "out_channels" for d in (1, 2, 3)},
    "Embedding": "embedding_dim",
}
"""The layers that choose the number of features or channels they give, and the argument that says it."""

TURN = ("t", "T", "mT", "transpose", "permute", "swapaxes", "movedim")
"""Ops that only put the dimensions in another order."""


@dataclass(frozen=True)
class Origin:
    """Where a size came from.

    `sum` and `product` are the sizes that were joined or merged into it, empty if none were. `event` is the call or op
    that made the size, `held` the argument, parameter or buffer that had it; both are None if that is not known.
    `chosen`: the event is a layer that was built to give this size.
    `dimension` is that of the size in the tensor that had it first, `shape` the shape of what held it.
    """

    sum: Shape
    product: Shape
    event: Event | None
    held: Source | None
    dimension: int
    chosen: bool = False
    shape: Shape = ()


def origin_of_size(trace: Trace, leaf: TensorMeta, dimension: int) -> Origin:
    """Follow a size back to what made it; what leaves it as it was is passed over."""
    dimension %= max(len(leaf.shape), 1)
    joined: Shape = ()
    for _ in range(MOST_STEPS):
        event = trace.flow.producer(leaf)
        if event is None or event.error is not None:
            return Origin(joined, (), None, leaf.source, dimension, shape=leaf.shape)
        size, place = leaf.shape[dimension], len(leaf.shape) - 1 - dimension
        given = tensors_in(event.inputs)
        if isinstance(event, Call) and event.class_name in CHOOSE_THEIR_OUTPUT and is_chosen(event, dimension, leaf):
            return Origin(joined, (), event, None, dimension, chosen=True)
        if isinstance(event, Op) and joins(event) and not joined:
            parts = tuple(part.shape[dimension] for part in given if len(part.shape) == len(leaf.shape))
            if len(parts) > 1 and sum(parts) == size and parts.count(size) == 0:
                joined = parts
                leaf = given[parts.index(max(parts))]
                continue
        merged = next((run for part in given if (run := _merged(part.shape, leaf.shape, dimension))), ())
        if merged:
            maker = trace.flow.producer(given[0])
            return Origin(joined, merged, maker, given[0].source if maker is None else None, dimension)
        before = next(
            (found for part in given if (found := same_size(part.shape, size, dimension, place)) is not None), None
        )
        source = next((part for part in given if same_size(part.shape, size, dimension, place) is not None), None)
        if before is None or source is None:
            return Origin(joined, (), event, None, dimension)
        leaf, dimension = source, before
    return Origin(joined, (), None, None, dimension)


def size_text(trace: Trace, leaf: TensorMeta, dimension: int, around: Call | None = None) -> str:
    """A size with its arithmetic and its maker: `577 = 1 + 576, 576 = 24×24 of patch_embed`; else the number alone."""
    size = leaf.shape[dimension]
    origin = origin_of_size(trace, leaf, dimension)
    text = str(size)
    if origin.sum:
        text += f" = {' + '.join(map(str, origin.sum))}, {max(origin.sum)}"
    if origin.product:
        text += f" = {shape_text(origin.product)}"
    whose = event_text(trace, origin.event, around) if origin.event is not None else held_text(origin.held)
    if origin.sum and not origin.product and not whose:
        return text.rpartition(",")[0]
    return f"{text} of {whose}" if whose and (origin.sum or origin.product) else text


def origin_text(trace: Trace, leaf: TensorMeta, around: Call | None = None) -> str:
    """Where an operand came from: `torch.cat`, `F.relu in stages.3`, `the argument mask`; "" if that is not known."""
    event = trace.flow.producer(leaf)
    if event is None:
        return held_text(leaf.source)
    of = _behind(trace, event) if isinstance(event, Op) else ""
    return event_text(trace, event, around) + (f" of {of}" if of else "")


def _behind(trace: Trace, op: Op) -> str:
    """What held the first operand of an op, or the call that gave what the op only turned; "" if neither."""
    given = tensors_in(op.inputs)
    held = next((text for part in given if (text := held_behind(trace, part))), "")
    if held or not given or op.name.rpartition(".")[2] not in TURN:
        return held
    made = trace.flow.producer(given[0])
    return name_of(made) if isinstance(made, Call) else ""


def held_behind(trace: Trace, leaf: TensorMeta) -> str:
    """The parameter, buffer or attribute that a tensor is, or was before ops that took nothing else."""
    for _ in range(MOST_STEPS):
        event = trace.flow.producer(leaf)
        if event is None:
            return held_text(leaf.source) if leaf.source is not None and leaf.source.argument is None else ""
        given = tensors_in(event.inputs)
        if isinstance(event, Call) or len(given) != 1:
            return ""
        leaf = given[0]
    return ""


def held_text(source: Source | None) -> str:
    """What held a tensor that nothing in the trace made."""
    if source is None:
        return ""
    kinds = ("argument", "parameter", "buffer", "attribute")
    return next((f"the {kind} {name}" for kind in kinds if (name := getattr(source, kind)) is not None), "")


def event_text(trace: Trace, event: Event, around: Call | None = None) -> str:
    """A call by its module; an op by its name, and by the module that it ran in if that is not the one around."""
    if isinstance(event, Call):
        return name_of(event)
    parent = trace.caller(event)
    if parent is None or parent is around or not parent.path:
        return event.name
    return f"{event.name} in {path_text(parent.path)}"


def argument_behind(trace: Trace, leaf: TensorMeta) -> str | None:
    """The argument of the model that an operand is, but for its order and its shape."""
    for _ in range(MOST_STEPS):
        event = trace.flow.producer(leaf)
        if event is None:
            return leaf.source.argument if leaf.source is not None else None
        given = tensors_in(event.inputs)
        if isinstance(event, Call) or len(given) != 1 or prod(given[0].shape) != prod(leaf.shape):
            return None
        leaf = given[0]
    return None


def joins(op: Op) -> bool:
    """Whether an op joins tensors along a dimension that they have."""
    return op.name in ("torch.cat", "torch.concat", "torch.concatenate", "torch.hstack", "torch.vstack")


def is_chosen(call: Call, dimension: int, leaf: TensorMeta) -> bool:
    """Whether the dimension is that of the features or the channels that such a layer gives."""
    if "Conv" in call.class_name:
        return len(leaf.shape) - dimension == int(call.class_name[-2]) + 1
    return dimension == len(leaf.shape) - 1


def same_size(shape: Shape, size: int, dimension: int, from_end: int) -> int | None:
    """The dimension of this size in a tensor before: at the same place, counted from either end, or the only one."""
    for at in (dimension, len(shape) - 1 - from_end):
        if 0 <= at < len(shape) and shape[at] == size:
            return at
    return shape.index(size) if shape.count(size) == 1 else None


def _merged(before: Shape, after: Shape, dimension: int) -> Shape:
    """The neighbouring sizes, more than one of them above 1, that were merged into a size; empty if none were."""
    if len(before) <= len(after) or prod(before) != prod(after):
        return ()
    size = after[dimension]
    for start in range(len(before)):
        for end in range(start + 2, len(before) + 1):
            run = before[start:end]
            if prod(run) == size and sum(part > 1 for part in run) > 1 and before[:start] == after[:dimension]:
                return run
    return ()
