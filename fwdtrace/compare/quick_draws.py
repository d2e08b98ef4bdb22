"""Build a model without drawing all numbers of its large weights, which those of another model will replace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree

from fwdtrace.recorder.dispatch_mode import DispatchMode

_FILLS = frozenset((torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default))
_LARGE = 100_000
_DRAWN = 10_007
"""How many elements of a large tensor are drawn; the rest of it repeats them."""


class QuickDraws(DispatchMode):
    """While it is on, a large tensor is filled with a few random numbers over and over.

    It remembers the memory of every tensor that gets other numbers by this: the large ones, all that are drawn after
    them, since the generator has drawn less, and what is computed from either.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed: set[StorageWeakRef] = set()
        self._is_read = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, or fill the tensor."""
        kwargs = kwargs or {}
        is_drawn = torch.Tag.nondeterministic_seeded in function.tags and kwargs.get("generator") is None
        if is_drawn and function in _FILLS and _is_large(args[0]):
            self._changed.add(_memory(args[0]))
            return _filled(function, *args, **kwargs)
        result = function(*args, **kwargs)
        if self._changed:
            given = [*_tensors((args, kwargs))]
            if is_drawn or any(map(self._is_changed, given)):
                gave = [*_tensors(result)]
                self._is_read |= not gave and result is not None
                self._changed.update(_memory(tensor) for tensor in (given if result is None else gave))
        return result

    def only_in(self, model: nn.Module, names: Iterable[str]) -> bool:
        """Whether this changed nothing of the model but the weights by these names."""
        return not self._changed or not (self._is_read or self.is_in(model, names))

    def is_in(self, model: nn.Module, names: Iterable[str]) -> bool:
        """Whether the model holds a tensor that this changed, other than the weights by these names."""
        state = model.state_dict(keep_vars=True)
        among = {id(state[name]) for name in names}
        held = (tensor for module in model.modules() for tensor in _tensors(vars(module)))
        return any(self._is_changed(tensor) for tensor in held if id(tensor) not in among)

    def _is_changed(self, tensor: Tensor) -> bool:
        return tensor.layout is torch.strided and _memory(tensor) in self._changed


def _is_large(tensor: Tensor) -> bool:
    is_plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and tensor.is_contiguous()
    return is_plain and tensor.numel() >= _LARGE


def _filled(function: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    flat = tensor.view(-1)
    drawn = function(flat.new_empty(_DRAWN), *args, **kwargs)
    whole = len(flat) - len(flat) % _DRAWN
    flat[:whole].view(-1, _DRAWN).copy_(drawn)
    flat[whole:].copy_(drawn[: len(flat) - whole])
    return tensor


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, Tensor))


def _memory(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
