"""Watches at the level of kernels where tensors come from: which one filled the memory, and in which row it ran.

It shares nothing with the recorder: a dispatch mode counts the kernels and sees what memory each gives and writes, a
function mode and a patched `nn.Module.__call__` say which kernels ran in which op and call. It keeps every tensor, so
that no address is ever used twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fwdtrace.trace import Leaf, TensorMeta, Trace
from tests.oracle.flow import Known, Origin, Sides, known_of
from tests.oracle.oracle import tensors_by_name

Memory = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""What makes a view of memory: its storage, offset, sizes and strides."""


@dataclass
class Event:
    """A call, or a torch function outside all others: the kernels that it ran, and the tensors in and out."""

    name: str
    parent: int | None
    is_call: bool
    begin: int
    inputs: list[Tensor]
    end: int = -1
    outputs: list[Tensor] = field(default_factory=list)


@dataclass
class Made:
    """Where a tensor came from: a kernel, or the name under which the model held it; None if neither is known."""

    kernel: int | None = None
    named: Origin | None = None


class Kernels(TorchDispatchMode):
    """Counts kernels: the memory that each gave, and the storages that it wrote into."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[list[Memory]] = []
        self.written: list[set[int]] = []
        self._kept: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        written = set()
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written |= {memory_of(tensor)[0] for tensor in tensors_in(value)}
        for argument in func._schema.arguments:
            if argument.name in (kwargs or {}) and argument.alias_info is not None and argument.alias_info.is_write:
                written |= {memory_of(tensor)[0] for tensor in tensors_in((kwargs or {})[argument.name])}
        self.given.append([memory_of(tensor) for tensor in tensors_in(result)])
        self.written.append(written)
        self._kept.append(result)
        return result


class Functions(TorchFunctionMode):
    """Notes every torch function that is called from outside all others."""

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self._observer = observer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", type(func).__name__)
        with self._observer.event(name, (args, kwargs or {}), is_call=False) as results:
            results.append(func(*args, **(kwargs or {})))
        return results[0]


class Observer:
    """Watches one model in a `with` block; `events` are its calls and functions in order of beginning."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.events: list[Event] = []
        self.kernels = Kernels()
        self.made: dict[int, Made] = {}
        self._open: list[int] = []
        self._kept: list[Tensor] = []
        self._functions = Functions(self)

    def __enter__(self) -> Observer:
        for kind, named in (
            ("parameter", self.root.named_parameters()),
            ("buffer", self.root.named_buffers()),
            ("attribute", attributes_of(self.root)),
        ):
            for name, tensor in named:
                self._note(tensor, Made(named=Origin(kind, name)))
        self._original, observer = nn.Module.__call__, self

        def observed(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            with observer.event(type(module).__name__, (args, kwargs), is_call=True) as results:
                results.append(observer._original(module, *args, **kwargs))
            return results[0]

        nn.Module.__call__ = observed  # type: ignore[method-assign]
        self._functions.__enter__()
        self.kernels.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self.kernels.__exit__(*details)
        self._functions.__exit__(*details)
        nn.Module.__call__ = self._original  # type: ignore[method-assign]

    @contextmanager
    def event(self, name: str, arguments: tuple[Any, dict[str, Any]], *, is_call: bool) -> Iterator[list[Any]]:
        """Note what runs in the block, which puts its result into the list."""
        args, kwargs = arguments
        inputs = [tensor for value in (*args, *kwargs.values()) for tensor in tensors_in(value)]
        parent = self._open[-1] if self._open else None
        event = Event(name, parent, is_call, len(self.kernels.given), inputs)
        for tensor in inputs:
            self._note(tensor, Made())
        if parent is None:
            self._name_arguments(args, kwargs)
        self.events.append(event)
        if is_call:
            self._open.append(len(self.events) - 1)
        results: list[Any] = []
        try:
            yield results
        finally:
            event.end = len(self.kernels.given)
            if is_call:
                self._open.pop()
        event.outputs = tensors_in(results[0])
        for tensor in event.outputs:
            self._note(tensor, Made(kernel=self._kernel_of(tensor, event)))

    def _name_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = type(self.root).forward.__code__.co_varnames[1:]
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            for place, tensor in tensors_by_name(name, value):
                if self.made[id(tensor)] == Made():
                    self.made[id(tensor)] = Made(named=Origin("argument", place))

    def _note(self, tensor: Tensor, made: Made) -> None:
        if id(tensor) not in self.made:
            self.made[id(tensor)] = made
            self._kept.append(tensor)

    def _kernel_of(self, tensor: Tensor, event: Event) -> int | None:
        """The last kernel of an event that gave this view of this memory."""
        memory = memory_of(tensor)
        kernels = range(event.end - 1, event.begin - 1, -1)
        return next((kernel for kernel in kernels if memory in self.kernels.given[kernel]), None)


@dataclass
class Judgement:
    """The sources that a trace states, sorted by what an observer knows of them; `right` is how many it confirms."""

    right: int
    wrong: list[str]
    missing: list[str]
    """What the trace does not say though the observer knows it."""
    unexplained: list[str]
    """Inputs of calls without a source, of which the observer does not know where they came from either."""


def judged(trace: Trace, observer: Observer) -> Judgement:
    """Hold every source of a trace against what an observer saw in another run of the same model."""
    expected = expected_flow(trace, observer)
    lost = [f"row {row.id} is nothing that the observer saw" for row in trace.events if row.id not in expected]
    judgement = Judgement(0, lost, [], [])
    for row in trace.events:
        if row.id not in expected:
            continue
        for side in ("inputs", "outputs"):
            leaves, rights = getattr(row, side), getattr(expected[row.id], side)
            stated = known_of(leaves)
            if len(stated) != len(rights) and not holds_more(leaves):
                judgement.wrong.append(f"row {row.id} has {len(stated)} tensors in {side}, not {len(rights)}")
            for place, (told, right) in enumerate(zip(stated, rights, strict=False)):
                text = f"row {row.id}, {side}[{place}] is told as {told} and not {right}"
                if told == right and told.origin is not None:
                    judgement.right += 1
                elif told.origin is not None:
                    judgement.wrong.append(text)
                elif right.origin is not None:
                    judgement.missing.append(text)
                elif side == "inputs":
                    judgement.unexplained.append(text)
    return judgement


def expected_flow(trace: Trace, observer: Observer) -> dict[int, Sides]:
    """What the observer knows of the tensors of each row of a trace, by the row's id."""
    naming = Naming(trace, observer)
    return {
        row.id: Sides(
            tuple(naming.known(tensor, event.begin) for tensor in event.inputs),
            tuple(naming.known(tensor, event.end) for tensor in event.outputs),
        )
        for row in trace.events
        if row.id in naming.events
        for event in (observer.events[naming.events[row.id]],)
    }


class Naming:
    """What an observer knows, named by the rows of a trace."""

    def __init__(self, trace: Trace, observer: Observer) -> None:
        self.observer = observer
        self.events = events_of(trace, observer)
        self._row = {place: id for id, place in self.events.items()}
        self._outputs = {
            row.id: [place for place, leaf in enumerate(row.outputs) if isinstance(leaf, TensorMeta)]
            for row in trace.events
        }

    def known(self, tensor: Tensor, kernel: int) -> Known:
        """What is known of a tensor before the kernel with this number ran."""
        made, events = self.observer.made[id(tensor)], self.observer.events
        origin, since = made.named, 0
        if made.kernel is not None:
            maker = self._innermost(made.kernel)
            if maker is None:
                return Known(None)
            outputs = self._outputs[self._row[maker]]
            places = (place for place, output in zip(outputs, events[maker].outputs, strict=False) if output is tensor)
            origin, since = Origin("row", self._row[maker], next(places, -1)), events[maker].end
        if origin is None:
            return Known(None)
        storage, written = memory_of(tensor)[0], self.observer.kernels.written
        last = next((place for place in range(kernel - 1, since - 1, -1) if storage in written[place]), None)
        writer = self._innermost(last) if last is not None else None
        return Known(origin, self._row[writer] if writer is not None else None)

    def _innermost(self, kernel: int) -> int | None:
        """The innermost row in which a kernel ran: of those that ran it, the one that began last."""
        events = self.observer.events
        return max((place for place in self._row if events[place].begin <= kernel < events[place].end), default=None)


def events_of(trace: Trace, observer: Observer) -> dict[int, int]:
    """Which event each row of a trace is: calls in order, and the ops of each call in order as their tensors fit."""
    calls = [place for place, event in enumerate(observer.events) if event.is_call]
    rows = {
        call.id: place
        for call, place in zip(trace.calls, calls, strict=False)
        if observer.events[place].name == call.class_name
    }
    functions: dict[int | None, list[int]] = defaultdict(list)
    for place, event in enumerate(observer.events):
        if not event.is_call:
            functions[event.parent].append(place)
    for op in trace.ops or ():
        waiting = functions[rows.get(op.parent if op.parent is not None else -1)]
        while waiting:
            place = waiting.pop(0)
            event = observer.events[place]
            if shapes(op.inputs) == list(map(shape, event.inputs)) and shapes(op.outputs) == list(
                map(shape, event.outputs)
            ):
                rows[op.id] = place
                break
    return rows


def shapes(leaves: tuple[Leaf, ...]) -> list[tuple[Any, ...]]:
    """Sizes and types of recorded tensors."""
    return [(leaf.shape, leaf.dtype) for leaf in leaves if isinstance(leaf, TensorMeta)]


def shape(tensor: Tensor) -> tuple[Any, ...]:
    """Size and type of a tensor."""
    return tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")


def holds_more(leaves: tuple[Leaf, ...]) -> bool:
    """Whether a trace says that an object holds more tensors than it names."""
    return any("more tensors" in getattr(leaf, "value", "") for leaf in leaves)


def attributes_of(root: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors that modules hold as plain attributes."""
    for path, module in root.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                yield f"{path}.{name}".lstrip("."), value


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a value, in order."""
    return [tensor for _, tensor in tensors_by_name("", value)]


def memory_of(tensor: Tensor) -> Memory:
    """Which view of which memory a tensor is; a memory of its own for the tensors inside torch.func.vmap."""
    if torch._C._functorch.is_batchedtensor(tensor):
        return -id(tensor), 0, tuple(tensor.shape), ()
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
