"""Values of the trace that are filled in field by field: the constructor of a frozen one takes ten times as long.

Once all fields are set, `draft.__class__` is set to the class of the value, and the draft is that value. A draft is of
a subclass that adds nothing, since Python compares the names of all fields where a class gives way to an unrelated one.
Its fields are set as fast as those of any class only if setting and deleting them are both as in `object`.
"""

from __future__ import annotations

from typing import Any

from fwdtrace.trace import Call, Op, Source, TensorMeta


class _Fillable:
    """A frozen value whose fields can be set."""

    __slots__ = ()
    __init__, __setattr__, __delattr__ = object.__init__, object.__setattr__, object.__delattr__


class CallDraft(_Fillable, Call):
    """A Call that is being filled in."""

    __slots__ = ()


class OpDraft(_Fillable, Op):
    """An Op that is being filled in."""

    __slots__ = ()


class SourceDraft(_Fillable, Source):
    """A Source that is being filled in."""

    __slots__ = ()


class TensorDraft(_Fillable, TensorMeta):
    """A TensorMeta that is being filled in."""

    __slots__ = ()


def plain_tensor(
    name: str, shape: tuple[int, ...], dtype: str, device: str, requires_grad: bool, layout: str
) -> TensorMeta:
    """The leaf of a tensor that is on one device; nothing is known yet of its numbers and its source."""
    draft: Any = TensorDraft()
    draft.name, draft.shape, draft.dtype, draft.device = name, shape, dtype, device
    draft.requires_grad, draft.layout, draft.placements = requires_grad, layout, ()
    draft.local_shape = draft.stats = draft.source = draft.changed_by = None
    draft.__class__ = TensorMeta
    return draft  # type: ignore[no-any-return]


def renamed(leaf: TensorMeta, name: str) -> TensorMeta:
    """The leaf of another tensor that is like the first one in all but its name."""
    draft: Any = TensorDraft()
    draft.name, draft.shape, draft.dtype, draft.device = name, leaf.shape, leaf.dtype, leaf.device
    draft.requires_grad, draft.layout, draft.placements = leaf.requires_grad, leaf.layout, leaf.placements
    draft.local_shape, draft.stats = leaf.local_shape, leaf.stats
    draft.source, draft.changed_by = leaf.source, leaf.changed_by
    draft.__class__ = TensorMeta
    return draft  # type: ignore[no-any-return]
