"""How large a model is and what a run of it takes: parameters and their bytes, activations, operations, memory."""

from __future__ import annotations

import re
from functools import cache
from math import prod

from fwdtrace.render import words
from fwdtrace.trace import Call, Event, TensorMeta, Trace, tensors_in

_BITS = re.compile(r"\d+")


def sizes(trace: Trace) -> list[str]:
    """Parameters trainable and frozen, the size of the model and of its activations, and what was counted beside."""
    model = trace.model
    texts = []
    if model.trainable is not None:
        frozen = model.parameters - model.trainable
        texts.append(f"{model.trainable:,} trainable" + (f", {frozen:,} frozen" if frozen else ""))
    if model.parameter_bytes is not None:
        buffers = f" and {words.megabytes(model.buffer_bytes)} buffers" if model.buffer_bytes else ""
        texts.append(f"{words.megabytes(model.parameter_bytes)} parameters{buffers}")
    if trace.calls:
        texts.append(f"{words.megabytes(activations(trace))} activations")
    flops = outermost(trace, "flops")
    if flops is not None:
        texts.append(
            f"{words.count(flops, short=True) or 0} FLOPs, {words.count(flops // 2, short=True) or 0} multiply-adds"
        )
    memory = max((call.memory_bytes for call in trace.calls if call.memory_bytes is not None), default=None)
    if memory is not None:
        texts.append(f"{words.megabytes(memory)} peak memory")
    return texts


def activations(trace: Trace) -> int:
    """The bytes of what the innermost calls and the ops gave; what is only handed on counts where it was made."""
    innermost: tuple[Event, ...] = (*trace.innermost, *(trace.ops or ()))
    return sum(
        bytes_of(leaf)
        for event in innermost
        for leaf in tensors_in(event.outputs)
        if leaf.source is None or leaf.source.id is None or leaf.source.id == event.id
    )


def outermost(trace: Trace, measure: str) -> int | None:
    """The sum of a measure over the calls that are in no other call that has it; None if none has it."""
    within: set[int] = set()
    found: list[int] = []
    for call in trace.calls:
        number: int | None = getattr(call, measure)
        inside = call.parent in within
        if number is not None and not inside:
            found.append(number)
        if inside or number is not None:
            within.add(call.id)
    return sum(found) if found else None


def output_bytes(call: Call) -> int:
    """The bytes of the tensors that the call returned, counted as if no two shared their storage."""
    return sum(map(bytes_of, tensors_in(call.outputs)))


def bytes_of(tensor: TensorMeta) -> int:
    """The bytes of its elements, by its type; a ragged dimension counts as nothing."""
    return _element(tensor.dtype) * max(prod(tensor.shape), 0)


@cache
def _element(dtype: str) -> int:
    """The bytes of one element."""
    bits = _BITS.search(dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1
