"""What tensors are like that a session has met, each kind described once, and what is known of each by its identity."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from fwdtrace.recorder.alike import LIKE_NOTHING, Alike
from fwdtrace.recorder.describe import nested_shape, size_of
from fwdtrace.recorder.drafts import plain_tensor, renamed
from fwdtrace.recorder.notes import Known
from fwdtrace.recorder.torch_internals import placed
from fwdtrace.trace import TensorMeta

_traits = attrgetter("__class__", "shape", "dtype", "device", "requires_grad", "layout")


class TensorTable:
    """Says of a tensor what it is like. It is first compared with the one before: most modules are given what another
    has just given.

    Where data flow is noted, `known` has what is known of each tensor by its identity, what it is like too.
    """

    __slots__ = ("_alike", "_hints", "_leaves", "known", "last")

    def __init__(self) -> None:
        self._alike: dict[tuple[Any, ...], Alike] = {}
        self.last = LIKE_NOTHING
        self.known: dict[int, Known] = {}
        # By identity, what a tensor was like when it was last met; what is like that still is accepted quickly.
        self._hints: dict[int, Alike] = {}
        self._leaves: dict[tuple[Any, ...], TensorMeta] = {}

    def like_of_known(self, value: Any) -> Alike | None:
        """What a value is like that may be a tensor: as the last one, or as when it was met; None if as neither."""
        entry = self.known.get(id(value))
        like = self.last if entry is None or entry() is not value else entry.like
        return like if like.accepts(value) else None

    def known_still(self, tensor: Tensor) -> Known | None:
        """What is known of a tensor, if nothing has been written into it and it is described as before; else None."""
        entry = self.known.get(id(tensor))
        if entry is None or entry() is not tensor or not entry.like.accepts(tensor):
            return None
        return entry if entry.version < 0 or entry.version == tensor._version else None

    def alike_with(self, tensor: Tensor) -> Alike:
        """How tensors like this one are described; like nothing if only the tensor itself can tell."""
        if self.last.accepts(tensor):
            return self.last
        if type(tensor) is not Tensor and type(tensor) is not nn.Parameter:
            return LIKE_NOTHING
        return self.unlike_last(tensor) or LIKE_NOTHING

    def unlike_last(self, tensor: Tensor) -> Alike | None:
        """What a tensor is like that is not like the last one; None if only the tensor itself can tell."""
        hint = self._hints.get(id(tensor))
        if hint is not None and hint.accepts(tensor):
            self.last = hint
            return hint
        try:
            traits = _traits(tensor)
            alike = self._alike.get(traits)
        except (RuntimeError, TypeError):  # a nested tensor has no shape, one with a symbol in it no hash
            return None
        if alike is None:
            leaf = self.new_tensor(tensor, "")
            alike = self._alike.setdefault(traits, Alike((renamed(leaf, "0"),), (leaf,), tensor))
        elif alike is self.last or alike is hint:  # refused, because torch is in another mode now, autocast for one
            alike.take_as_example(tensor)
        self.last = self._hints[id(tensor)] = alike
        return alike

    def new_tensor(self, tensor: Tensor, name: str) -> TensorMeta:
        """The leaf of a tensor, read from the tensor itself; one object for all that say the same."""
        layout = str(tensor.layout).removeprefix("torch.")
        try:
            shape = tuple(map(size_of, tensor.shape))
        except RuntimeError:
            shape, layout = nested_shape(tensor), "nested"
        placements, local_shape = ((), None) if type(tensor) is Tensor else placed(tensor)
        key = (name, shape, tensor.dtype, tensor.device, tensor.requires_grad, layout, placements, local_shape)
        leaf = self._leaves.get(key)
        if leaf is None:
            dtype, gradient = str(tensor.dtype).removeprefix("torch."), bool(tensor.requires_grad)
            leaf = plain_tensor(name, shape, dtype, str(tensor.device), gradient, layout)
            if local_shape is not None:
                leaf = replace(leaf, placements=placements, local_shape=local_shape)
            self._leaves[key] = leaf
        return leaf
