"""Build a model quickly: each of its large weights is filled with a few random numbers over and over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from sys import _getframe
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import init
from torch.overrides import TorchFunctionMode

from fwdtrace.recorder.dispatch_mode import DispatchMode
from fwdtrace.recorder.torch_internals import without_torch_function

_FILLS = frozenset((torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default))
_LARGE = 100_000
FEW = 10_007
"""How many elements of a large tensor are drawn; the rest of it repeats them."""


_LEFT_TO_OPERATIONS = frozenset(
    [
        *(name for name, value in vars(init).items() if name.endswith("_") and callable(value)),
        *("add_", "sub_", "mul_", "div_", "erfinv_", "clamp_", "detach", "requires_grad_"),
        *("size", "dim", "numel", "is_floating_point"),
    ]
)
"""The names of functions that look at numbers by operations alone, or at none; libraries have such of their own."""
_OF_NO_NUMBER = frozenset(
    getattr(Tensor, name).__get__
    for name in (
        *("shape", "dtype", "device", "layout", "ndim", "data", "is_meta"),
        *("is_leaf", "requires_grad", "grad", "grad_fn"),
    )
)
_READS_MEMORY = frozenset(
    [
        *("tolist", "numpy", "__array__", "__dlpack__", "__deepcopy__", "__reduce_ex__", "data_ptr", "const_data_ptr"),
        *("untyped_storage", "storage", "_typed_storage", "share_memory_", "apply_", "map_", "map2_"),
    ]
)
"""The names of functions that look at numbers by no operation, or let others do so at any time."""


class QuickDraws(DispatchMode):
    """While it is on, a large tensor is filled with a few random numbers over and over.

    What is then done to each of its numbers alone is done to those few. They are written when something needs the
    tensor, or at the end: most layers are filled twice, by torch and then by the library. It remembers the memory of
    every tensor that gets other numbers by this: the large ones, all that are drawn after them, since the generator has
    drawn less, and what is computed from either.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed: set[StorageWeakRef] = set()
        self._repeat: set[StorageWeakRef] = set()
        """The memory that still holds nothing but a few numbers over and over."""
        self._to_write: dict[StorageWeakRef, tuple[Tensor, Tensor]] = {}
        """The large tensors that are not filled yet, each with its few numbers."""
        self._own: set[StorageWeakRef] = set()
        """The memory that was made meanwhile, and is read by operations alone."""
        self._is_read = False
        self._reads = _Reads(self)

    def __enter__(self) -> QuickDraws:
        """Begin, and see what reads a tensor by no operation."""
        self._reads.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc: Any) -> None:
        """Fill what is left."""
        self._reads.__exit__(*exc)  # type: ignore[no-untyped-call]
        super().__exit__(*exc)  # type: ignore[no-untyped-call]
        with torch.inference_mode():  # what was made in it can be written only in it, and all else can be, too
            for memory in [*self._to_write]:
                self._write(memory)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, or fill the tensor."""
        kwargs = kwargs or {}
        is_drawn = torch.Tag.nondeterministic_seeded in function.tags and kwargs.get("generator") is None
        if is_drawn and function in _FILLS and is_large(args[0]):
            memory = _memory(args[0])
            self._changed.add(memory)
            few = function(args[0].new_empty(FEW), *args[1:], **kwargs)
            if _is_all_there_is(args[0]) and memory in self._own:
                self._repeat.add(memory)
                self._to_write[memory] = args[0].detach(), few
                return args[0]
            self._write(memory)
            return _filled(args[0], few)
        if self._does_each_alone(function, args, kwargs):
            memory = _memory(args[0])
            if memory in self._to_write and self._to_write[memory][0].dtype is not args[0].dtype:
                self._write(memory)
            _, few = self._to_write.get(memory, (None, args[0].view(-1)[:FEW]))
            self._to_write[memory] = args[0].detach(), function(few.clone(), *args[1:], **kwargs)
            return args[0]
        if self._to_write:
            for tensor in _tensors((args, kwargs)):
                if _is_plain(tensor):
                    self._write(_memory(tensor))
        if self._repeat and function._schema.is_mutable:
            self._repeat.difference_update(_memory(tensor) for tensor in _tensors((args, kwargs)) if _is_plain(tensor))
        result = function(*args, **kwargs)
        given = [*_tensors((args, kwargs))]
        if not given:
            self._own.update(_memory(tensor) for tensor in _tensors(result) if is_large(tensor))
        if self._changed and (is_drawn or any(map(self._is_changed, given))):
            gave = [*_tensors(result)]
            # What torch's own rejection sampling reads only tells it when to end.
            self._is_read |= not gave and result is not None and not _is_called_by_init()
            self._is_read |= not all(map(_is_plain, gave))  # what has no memory of its own is not found again
            self._changed |= _memories(given if result is None else gave)
        return result

    def before(self, function: Any, given: Any) -> None:
        """Fill what a function is given; what comes of numbers that are read by no operation is not known."""
        memories = _memories(given) if self._own else set()
        for memory in memories:
            self._write(memory)
        if getattr(function, "__name__", "") in _READS_MEMORY:
            self._own -= memories
            self._is_read |= not self._changed.isdisjoint(memories)

    def _write(self, memory: StorageWeakRef) -> None:
        if memory in self._to_write:
            _filled(*self._to_write.pop(memory))

    def only_in(self, model: nn.Module, names: Iterable[str]) -> bool:
        """Whether this changed nothing of the model but the weights by these names."""
        return not self._changed or not (self._is_read or self.is_in(model, names))

    def is_in(self, model: nn.Module, names: Iterable[str]) -> bool:
        """Whether the model holds a tensor that this changed, other than the weights by these names."""
        state = model.state_dict(keep_vars=True)
        among = {id(state[name]) for name in names}
        held = (tensor for module in model.modules() for tensor in _tensors(vars(module)))
        return any(self._is_changed(tensor) for tensor in held if id(tensor) not in among)

    def _does_each_alone(self, function: Any, args: Any, kwargs: Any) -> bool:
        """Whether an operation does the same to each number of a tensor that still holds a few over and over."""
        if not self._repeat or not function._schema.is_mutable or torch.Tag.pointwise not in function.tags:
            return False
        if len([*_tensors((args, kwargs))]) != 1:
            return False
        is_whole = isinstance(args[0], Tensor) and is_large(args[0]) and _is_all_there_is(args[0])
        return is_whole and _memory(args[0]) in self._repeat

    def _is_changed(self, tensor: Tensor) -> bool:
        return _is_plain(tensor) and _memory(tensor) in self._changed


def _is_called_by_init() -> bool:
    """Whether torch's own code that draws weights has called, by whatever of us is in between."""
    frame: FrameType | None = _getframe(1)
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back
    return frame is not None and frame.f_globals is vars(init)


def is_large(tensor: Tensor) -> bool:
    """Whether to draw all its numbers takes so long that a few of them are repeated."""
    in_order = _is_plain(tensor) and tensor.device.type == "cpu" and tensor.is_contiguous()
    return in_order and tensor.numel() >= _LARGE


def in_parts(tensor: Tensor, few: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of a large tensor that each are as many as a few numbers, and what is left, with as many of those."""
    flat = tensor.view(-1)
    whole = len(flat) - len(flat) % len(few)
    yield flat[:whole].view(-1, len(few)), few
    yield flat[whole:], few[: len(flat) - whole]


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided


def _is_all_there_is(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() == tensor.nbytes


def _filled(tensor: Tensor, few: Tensor) -> Tensor:
    for part, numbers in in_parts(tensor, few):
        part.copy_(numbers)
    return tensor


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, found in less time than the trees of torch take."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _memories(value: Any) -> set[StorageWeakRef]:
    """The memory of the tensors in a value; those inside `vmap` have none of their own."""
    found = set()
    for tensor in _tensors(value):
        with suppress(RuntimeError):
            if _is_plain(tensor):
                found.add(_memory(tensor))
    return found


def _memory(tensor: Tensor) -> StorageWeakRef:
    with without_torch_function():  # a parameter without a shape refuses to be asked
        return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


class _Reads(TorchFunctionMode):
    """Has a tensor written before any function but those that look at no number of it."""

    def __init__(self, draws: QuickDraws) -> None:
        super().__init__()
        self._draws = draws

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function."""
        name = getattr(function, "__name__", "")
        if name not in _LEFT_TO_OPERATIONS and function not in _OF_NO_NUMBER:
            self._draws.before(function, (args, kwargs))
        return function(*args, **(kwargs or {}))
