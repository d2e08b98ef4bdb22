"""What the leaves of a call say about it: the dtypes, values and shapes by which two calls are compared."""

from __future__ import annotations

from collections.abc import Iterable

from fwdtrace.trace import Call, Leaf, TensorMeta, Value, shapes_in
from fwdtrace.trace.text import shapes_text


def dtypes_of(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The dtypes of the tensors among the leaves."""
    return tuple(leaf.dtype for leaf in leaves if isinstance(leaf, TensorMeta))


def other_values(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The leaves that are not tensors, each as `name=value`."""
    return tuple(f"{leaf.name}={leaf.value}" for leaf in leaves if isinstance(leaf, Value))


def outputs_begin_alike(call: Call, other: Call) -> bool:
    """Whether two calls give tensors of the same shapes, as far as both give some: one may give a cache after them."""
    ours, theirs = shapes_in(call.outputs), shapes_in(other.outputs)
    common = min(len(ours), len(theirs))
    return ours[:common] == theirs[:common] if common else ours == theirs


def tensors_in_words(leaves: tuple[Leaf, ...]) -> str:
    """The shapes and the dtypes as text: `2×3, 1×4 float32`."""
    return f"{shapes_text(leaves)} {', '.join(dict.fromkeys(dtypes_of(leaves)))}".strip()
