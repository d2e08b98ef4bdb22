"""What the leaves of a call say about it: the shapes, dtypes and texts by which two calls are compared."""

from __future__ import annotations

from collections.abc import Iterable

from fwdtrace.trace import Call, Leaf, TensorMeta, Value


def shapes_of(leaves: Iterable[Leaf]) -> tuple[tuple[int, ...], ...]:
    """The shapes of the tensors among the leaves."""
    return tuple(leaf.shape for leaf in leaves if isinstance(leaf, TensorMeta))


def dtypes_of(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The dtypes of the tensors among the leaves."""
    return tuple(leaf.dtype for leaf in leaves if isinstance(leaf, TensorMeta))


def other_values(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """The leaves that are not tensors, each as `name=value`."""
    return tuple(f"{leaf.name}={leaf.value}" for leaf in leaves if isinstance(leaf, Value))


def outputs_begin_alike(call: Call, other: Call) -> bool:
    """Whether two calls give tensors of the same shapes, as far as both give some: one may give a cache after them."""
    ours, theirs = shapes_of(call.outputs), shapes_of(other.outputs)
    common = min(len(ours), len(theirs))
    return ours[:common] == theirs[:common] if common else ours == theirs


def shapes_in_words(leaves: Iterable[Leaf]) -> str:
    """The shapes as text: `2×3, scalar`; `none` without a tensor."""
    return ", ".join("×".join(map(str, shape)) or "scalar" for shape in shapes_of(leaves)) or "none"


def tensors_in_words(leaves: tuple[Leaf, ...]) -> str:
    """The shapes and the dtypes as text: `2×3, 1×4 float32`."""
    return f"{shapes_in_words(leaves)} {', '.join(dict.fromkeys(dtypes_of(leaves)))}".strip()
