"""What raised and what is known about it: the operands, the parameters, and what gave tensors of their shapes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from fwdtrace.trace import Call, CallError, Leaf, Op, TensorMeta, Trace, Value
from fwdtrace.trace.text import name_of, name_with_class, shape_text, with_nth
from fwdtrace.trace.values import Event, Shape, shapes_in, tensors_in

MOST_OPERANDS = 8

OUTPUT_SIZES = {
    "Linear": "out_features",
    "Conv1d": "out_channels",
    "Conv2d": "out_channels",
    "Conv3d": "out_channels",
    "ConvTranspose1d": "out_channels",
    "ConvTranspose2d": "out_channels",
    "ConvTranspose3d": "out_channels",
    "Embedding": "embedding_dim",
}
"""The layers that choose the number of features or channels they give, and the argument that says it."""


@dataclass(frozen=True)
class Explanation:
    """Why something raised: `says` follows its name, as in "expects 256 features, got 400"; `fix` is advice, if any."""

    says: str
    fix: str = ""


@dataclass(frozen=True)
class History:
    """Which calls and ops of a trace gave a tensor of a certain shape."""

    trace: Trace

    def givers(self, shape: Shape, before: int) -> Iterator[Event]:
        """The calls and ops with an id below `before` that gave a tensor of this shape, the latest first."""
        events = self._givers.get(shape, [])
        for index in reversed(range(bisect_left(events, before, key=lambda event: event.id))):
            yield events[index]

    @cached_property
    def _givers(self) -> dict[Shape, list[Event]]:
        givers: dict[Shape, list[Event]] = defaultdict(list)
        for event in self.trace.events:
            for shape in dict.fromkeys(shapes_in(event.outputs)):
                givers[shape].append(event)
        return givers


@dataclass(frozen=True)
class Failure:
    """The innermost call that raised, and the op in it that did, if it was one."""

    history: History
    call: Call
    op: Op | None
    error: CallError

    @property
    def trace(self) -> Trace:
        """The trace in which it raised."""
        return self.history.trace

    @property
    def name(self) -> str:
        """What a person calls the op or the module."""
        return name_of(self.op or self.call)

    @property
    def subject(self) -> str:
        """The op or the module, with its class and which of its calls it is."""
        module = name_with_class(self.call)
        if self.call.path is None:
            module = with_nth(f"an unregistered {self.call.class_name}", self.call.nth)
        return f"{self.op.name} in {module}" if self.op else module

    @property
    def inputs(self) -> tuple[Leaf, ...]:
        """What the op or the call was given."""
        return self.op.inputs if self.op else self.call.inputs

    @cached_property
    def tensors(self) -> tuple[TensorMeta, ...]:
        """The tensors that the op or the call was given."""
        return tensors_in(self.inputs)

    @cached_property
    def state(self) -> tuple[TensorMeta, ...]:
        """The module's own parameters and buffers; none for an op, which is given all that it uses."""
        return () if self.op else tensors_in(self.call.state)

    def parameter(self, name: str) -> TensorMeta | None:
        """The module's own parameter or buffer of this name."""
        return next((leaf for leaf in self.state if leaf.name == name), None)

    def value(self, name: str, position: int | None = None) -> str | None:
        """The text of an argument that is no tensor, by its name or by its position in an op."""
        names = {name} | ({str(position)} if position is not None else set())
        return next((leaf.value for leaf in self.inputs if isinstance(leaf, Value) and leaf.name in names), None)

    def givers(self, shape: Shape) -> Iterator[Event]:
        """The calls and ops that gave a tensor of this shape before the failure, the latest first."""
        return self.history.givers(shape, before=(self.op or self.call).id)

    def flattened(self, shape: Shape) -> Shape:
        """The sizes that were flattened into the last size of `shape` by what gave it; empty if none were."""
        leading = len(shape) - 1
        for event in self.givers(shape):
            before = shapes_in(event.inputs)
            for given in before:
                sizes = given[leading:]
                if len(sizes) > 1 and given[:leading] == shape[:-1] and prod(sizes) == shape[-1]:
                    return sizes
            if shape not in before:
                break
        return ()

    def maker(self, shape: Shape, dimension: int) -> Call | None:
        """The layer that chose the size of this dimension; events that leave the size as it was are passed over."""
        before = (self.op or self.call).id
        while (event := next(self.history.givers(shape, before), None)) is not None:
            if isinstance(event, Call) and event.class_name in OUTPUT_SIZES:
                return event
            same_size = [
                given
                for given in shapes_in(event.inputs)
                if len(given) == len(shape) and given[dimension] == shape[dimension]
            ]
            if not same_size:
                return None
            shape, before = same_size[0], event.id
        return None


Explain = Callable[[Failure, re.Match[str]], Explanation | None]
"""A function that explains a failure by the match of torch's message; None if it is about something else."""


def sizes(text: str) -> Shape:
    """The whole numbers in a text, as in `[1, 3, 32, 32]` and `4 x 4`."""
    separated = "".join(letter if letter.isdigit() or letter == "-" else " " for letter in text)
    return tuple(int(number) for number in separated.split() if number.strip("-"))


def counted(shape: Shape) -> str:
    """The number of elements and the sizes that multiply to it: `400 = 16×5×5`; the number alone for one dimension."""
    return f"{prod(shape)} = {shape_text(shape)}" if len(shape) > 1 else str(prod(shape))


def set_argument(failure: Failure, argument: str, value: object) -> str:
    """The advice to build the module with another argument."""
    return f"set {argument}={value} in {failure.name}"


def operands(failure: Failure, explanation: str) -> str:
    """Every operand and parameter with its shape; `""` if the explanation names all of them already.

    Dtypes are named that are not float, and all of them if the floats differ; devices are named if they differ.
    """
    # A counter, as batch norm has, plays no part in what can be wrong with shapes.
    tensors = [*failure.tensors, *(leaf for leaf in failure.state if leaf.shape or "float" in leaf.dtype)]
    floats = {leaf.dtype for leaf in tensors if "float" in leaf.dtype}
    devices = {leaf.device for leaf in tensors}
    texts = []
    for leaf in tensors[:MOST_OPERANDS]:
        words = [shape_text(leaf.shape)]
        if len(floats) > 1 or leaf.dtype not in floats:
            words.append(leaf.dtype)
        if len(devices) > 1:
            words.append(f"on {leaf.device}")
        if not (failure.op and leaf.name[:1].isdigit()):
            words.insert(0, leaf.name)
        texts.append(" ".join(words))
    if len(tensors) > MOST_OPERANDS:
        texts.append(f"and {len(tensors) - MOST_OPERANDS} more")
    if all(text in explanation for text in texts):
        return ""
    return f"given {', '.join(texts)}"
