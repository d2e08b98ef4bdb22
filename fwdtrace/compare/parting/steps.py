"""The steps of a run: each operation of torch with the contents of what it was given and gave, and what ran it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from sys import _getframe
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.compare.numbers.contents import Content, content_of
from fwdtrace.compare.numbers.tensors import tensors_in
from fwdtrace.compare.parting.known_results import KnownResults
from fwdtrace.recorder.describe import unseen_tensors_of
from fwdtrace.recorder.dispatch_mode import DispatchMode
from fwdtrace.recorder.frames import NOWHERE, Position, position_outside_torch
from fwdtrace.recorder.measures.values import has_values, version_of
from fwdtrace.recorder.notes import OpenCall, OpenOp
from fwdtrace.recorder.torch_internals import Unseen, memory_of

_SAME_ORDER = frozenset(
    [
        "view",
        "_unsafe_view",
        "reshape",
        "unsqueeze",
        "squeeze",
        "alias",
        "detach",
        "clone",
        "contiguous",
        "_to_copy",
        "lift_fresh",
        "lift_fresh_copy",
        "flatten",
        "unflatten",
        "_reshape_alias",
    ]
)
ELEMENTS_STAY = _SAME_ORDER | frozenset(["permute", "transpose", "t", "movedim", "swapaxes", "flip", "roll"])
"""Operations whose result has the elements that it was given, if it has as many: in the same order, or in another."""
SELECTS = frozenset(("slice", "select", "split", "split_with_sizes", "unbind", "narrow", "unfold"))
"""Steps that take some of the elements of a tensor."""
_SHAPED_LIKE = frozenset(["zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"])
"""Operations whose result depends on the shape alone of what they are given."""
_SMALL = 100_000
PartsOf = Callable[[Tensor], Iterable[tuple[Content, ...]]]
"""The contents of the parts of a tensor, cut in one way or another; those of one tuple are all of it."""
_VIEWS = ELEMENTS_STAY | frozenset(["expand", "slice", "select", "split", "chunk", "narrow", "as_strided", "unbind"])


@dataclass(frozen=True, slots=True)
class Held:
    """What one tensor held at one time; `made_by` is the number of the step that gave it, None for what was given.

    `follows` says whether it depends on the inputs of the model, `weight` names the parameter or buffer that it is.
    """

    content: Content | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    made_by: int | None
    follows: bool
    weight: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of torch: its name, the numbers of what it was given and gave, and the call or op that ran it.

    `position` is where in the code of a module it ran, for what is in no op.
    """

    name: str
    given: tuple[int, ...]
    gave: tuple[int, ...]
    event: int | None
    position: Position = NOWHERE


@dataclass(slots=True)
class Steps:
    """All steps of one run in order. `given` and `gave` have for each call and op, by its id, what its tensors held.

    `parts` has the contents of the parts of what was held, by its number, where those were asked for.
    """

    steps: list[Step] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    given: dict[int, tuple[int, ...]] = field(default_factory=dict)
    gave: dict[int, tuple[int, ...]] = field(default_factory=dict)
    buffers: dict[int, Content] = field(default_factory=dict)
    parts: dict[int, list[tuple[Content, ...]]] = field(default_factory=dict)

    @property
    def contents(self) -> Iterator[tuple[Content, int]]:
        """The content of everything that was held, with its number, that of smaller buffers and of parts too."""
        yield from ((held.content, number) for number, held in enumerate(self.held) if held.content is not None)
        yield from ((content, number) for number, content in self.buffers.items())
        yield from ((part, number) for number, ways in self.parts.items() for parts in ways for part in parts)

    @property
    def coarsest(self) -> torch.dtype:
        """The floating dtype with the fewest digits among what depends on the inputs."""
        dtypes = {held.dtype for held in self.held if held.follows and held.dtype.is_floating_point}
        return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64)


class StepRecorder(DispatchMode):
    """Notes the steps while a model runs; a measure as well, so that each step knows the call or op that ran it.

    Tensors are known by identity, weakly, and with their version, so that what is written into holds something new.
    """

    def __init__(self, model: nn.Module, known: KnownResults, parts_of: PartsOf | None = None) -> None:
        super().__init__()
        self._parts_of = parts_of
        self.found = Steps()
        self._known_results = known
        self._names = {
            id(tensor): name
            for name, tensor in (*model.named_buffers(remove_duplicate=False), *model.named_parameters())
        }
        self._known: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        self._writers: dict[int, int] = {}
        self._open: list[OpenCall | OpenOp] = []
        self._events: list[OpenCall | OpenOp | None] = []
        self._given: dict[OpenCall | OpenOp, tuple[int, ...]] = {}
        self._gave: dict[OpenCall | OpenOp, tuple[int, ...]] = {}

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """A call or op begins; what the outermost is given are the inputs of the model."""
        outermost = not self._open
        self._open.append(call)
        with Unseen():
            self._given[call] = tuple(
                self._number(tensor, follows=outermost)
                for tensor in (*unseen_tensors_of(args), *unseen_tensors_of(kwargs))
            )

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """It has ended, and so have those inside it that raised."""
        if call in self._open:
            del self._open[self._open.index(call) :]
        with Unseen():
            self._gave[call] = tuple(self._number(tensor) for tensor in unseen_tensors_of(output))

    def stop(self) -> None:
        """Know no tensor any more."""
        self._known.clear()

    def number(self, ids: Mapping[Any, int]) -> None:
        """File what was noted under the ids that calls and ops have in the finished trace."""
        events = [None if event is None else ids.get(event) for event in self._events]
        found = self.found
        found.steps = [replace(step, event=event) for step, event in zip(found.steps, events, strict=True)]
        found.given = {ids[call]: numbers for call, numbers in self._given.items() if call in ids}
        found.gave = {ids[call]: numbers for call, numbers in self._gave.items() if call in ids}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and note what it was given and gave."""
        kwargs = kwargs or {}
        with Unseen():
            given = [self._number(leaf) for leaf in tensors_in((args, kwargs))]
        result = self._known_results.result_of(function, args, kwargs)
        is_in_op = bool(self._open) and isinstance(self._open[-1], OpenOp)
        position = NOWHERE if is_in_op else position_outside_torch(_getframe(1), NOWHERE)
        with Unseen():
            self._note(name_of(function), given, result, _written(function, args, kwargs), position)
        return result

    def _note(self, name: str, given: list[int], result: Any, written: list[Tensor], position: Position) -> None:
        step = len(self.found.steps)
        source = self.found.held[given[0]] if given else None
        follows = name not in _SHAPED_LIKE and any(self.found.held[number].follows for number in given)
        gave = []
        for tensor in written:  # its version is only counted up when the operation has ended for those above us
            held = Held(_content(tensor, "", None), tuple(tensor.shape), tensor.dtype, step, follows)
            gave.append(self._new(tensor, held, version_of(tensor) + 1))
            self._writers[memory_of(tensor)] = step
        places = {id(tensor) for tensor in written}
        for tensor in tensors_in(result):
            if id(tensor) in places:
                continue
            known = self._known.get(id(tensor))
            if known is not None and known[0]() is tensor and known[1] == version_of(tensor):
                gave.append(known[2])
                continue
            weight = source.weight if source is not None and name in _VIEWS else None
            is_unset = name.startswith(("empty", "new_empty"))  # what happens to be in memory
            content = _content(tensor, name, source) if weight is None and not is_unset else None
            held = Held(content, tuple(tensor.shape), tensor.dtype, step, follows, weight)
            gave.append(self._new(tensor, held, version_of(tensor)))
        self.found.steps.append(Step(name, tuple(given), tuple(gave), None, position))
        self._events.append(self._open[-1] if self._open else None)

    def _number(self, tensor: Tensor, follows: bool = False) -> int:
        """The number of what the tensor holds now."""
        known = self._known.get(id(tensor))
        version = version_of(tensor)
        if known is not None and known[0]() is tensor:
            if known[1] == version:
                return known[2]
            before = self.found.held[known[2]]
            writer = self._writers.get(memory_of(tensor), -1)
            if writer <= (before.made_by if before.made_by is not None else -1):
                # A view gets the version of its base only when those above us have seen it: nothing was written.
                self._known[id(tensor)] = known[0], version, known[2]
                return known[2]
            follows = before.follows or self.found.held[self.found.steps[writer].gave[0]].follows
            held = Held(_content(tensor, "", None), before.shape, before.dtype, writer, follows)
            return self._new(tensor, held, version)
        weight = self._names.get(id(tensor))
        content = None if weight is not None else _content(tensor, "", None)
        number = self._new(tensor, Held(content, tuple(tensor.shape), tensor.dtype, None, follows, weight), version)
        if weight is not None and not isinstance(tensor, nn.Parameter) and tensor.numel() <= _SMALL:
            known_as = _content(tensor, "", None)  # what one model computes may be a buffer of the other
            if known_as is not None:
                self.found.buffers[number] = known_as
        return number

    def _new(self, tensor: Tensor, held: Held, version: int) -> int:
        self.found.held.append(held)
        number = len(self.found.held) - 1
        self._known[id(tensor)] = weakref.ref(tensor), version, number
        if self._parts_of is not None and held.content is not None and (ways := list(self._parts_of(tensor))):
            self.found.parts[number] = ways
        return number


def name_of(function: Any) -> str:
    """The name of an operation, without its overload."""
    return str(getattr(function, "overloadpacket", function)).rpartition(".")[2]


def _written(function: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that the operation writes into, by its schema."""
    schema = getattr(function, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    written = []
    for place, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            written += tensors_in(value)
    return written


def _content(tensor: Tensor, name: str, source: Held | None) -> Content | None:
    """The content; where an operation of this name gives the elements of what it was given, from that."""
    try:
        if not has_values(tensor) or tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
            return None
        same = source is not None and source.content is not None and source.content.count == tensor.numel()
        if same and source is not None and source.dtype == tensor.dtype:
            if name in _SAME_ORDER:
                return source.content
            if name in ELEMENTS_STAY:
                return content_of(tensor, source.content)
        return content_of(tensor)
    except (RuntimeError, NotImplementedError):  # a layout or a class that does not compute
        return None
