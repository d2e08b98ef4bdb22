"""What raised and what is known of it: the operands, the parameters, and where a shape came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from fwdtrace.findings.words import name_of
from fwdtrace.trace import Call, CallError, Leaf, Op, TensorMeta, Trace, Value

MOST_OPERANDS = 8

Shape = tuple[int, ...]

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
    """What follows the name of what raised, as in "expects 256 features, got 400", and what to do, if that is known."""

    says: str
    fix: str = ""


@dataclass(frozen=True)
class Failure:
    """The innermost call that raised, and the op in it that did, if it was one."""

    trace: Trace
    call: Call
    op: Op | None
    error: CallError

    @property
    def name(self) -> str:
        """What a person calls the op or the module."""
        return self.op.name if self.op else name_of(self.call)

    @property
    def subject(self) -> str:
        """The op or the module, with its class and which of its calls it is."""
        nth = f" #{self.call.nth}" if self.call.nth > 1 else ""
        if self.call.path is None:
            module = f"an unregistered {self.call.class_name}{nth}"
        else:
            module = f"{name_of(self.call)}{nth} ({self.call.class_name})"
        return f"{self.op.name} in {module}" if self.op else module

    @property
    def inputs(self) -> tuple[Leaf, ...]:
        """What the op or the call was given."""
        return self.op.inputs if self.op else self.call.inputs

    @cached_property
    def tensors(self) -> list[TensorMeta]:
        """The tensors that the op or the call was given."""
        return [leaf for leaf in self.inputs if isinstance(leaf, TensorMeta)]

    @cached_property
    def state(self) -> list[TensorMeta]:
        """The module's own parameters and buffers; none for an op, which is given what it uses."""
        return [] if self.op else [leaf for leaf in self.call.state if isinstance(leaf, TensorMeta)]

    def parameter(self, name: str) -> TensorMeta | None:
        """The module's own parameter or buffer of this name."""
        return next((leaf for leaf in self.state if leaf.name == name), None)

    def value(self, name: str, position: int | None = None) -> str | None:
        """The text of an argument that is no tensor, by its name or by its position in an op."""
        names = {name} | ({str(position)} if position is not None else set())
        return next((leaf.value for leaf in self.inputs if isinstance(leaf, Value) and leaf.name in names), None)

    @cached_property
    def events_before(self) -> list[Call | Op]:
        """The calls and ops that had finished when this one began, the latest first."""
        last = self.op.id if self.op else self.call.id
        events: list[Call | Op] = [*self.trace.calls, *(self.trace.ops or ())]
        finished = (event for event in events if event.id < last and event.outputs)
        return sorted(finished, key=lambda event: event.id, reverse=True)

    def flattened(self, shape: Shape) -> Shape:
        """The sizes that were flattened into the last size of `shape` on the way here; empty if none were."""
        for event in self.events_before:
            if shape not in shapes_of(event.outputs):
                continue
            before = shapes_of(event.inputs)
            for each in before:
                sizes = each[len(shape) - 1 :]
                if len(sizes) > 1 and each[: len(shape) - 1] == shape[:-1] and prod(sizes) == shape[-1]:
                    return sizes
            if shape not in before:
                break
        return ()

    def maker(self, shape: Shape, dimension: int) -> Call | None:
        """The layer that chose the size of this dimension, seen through what left it as it was."""
        for event in self.events_before:
            if shape not in shapes_of(event.outputs):
                continue
            if isinstance(event, Call) and event.class_name in OUTPUT_SIZES:
                return event
            same = [
                each
                for each in shapes_of(event.inputs)
                if len(each) == len(shape) and each[dimension] == shape[dimension]
            ]
            if not same:
                return None
            shape = same[0]
        return None


def shapes_of(leaves: tuple[Leaf, ...]) -> list[Shape]:
    """The shapes of the tensors among the leaves."""
    return [leaf.shape for leaf in leaves if isinstance(leaf, TensorMeta)]


def times(shape: Shape) -> str:
    """A shape as people write it: `1×3×32×32`."""
    return "×".join(map(str, shape)) if shape else "scalar"


def sizes(text: str) -> Shape:
    """The whole numbers in a text, as in `[1, 3, 32, 32]` and `4 x 4`."""
    separated = "".join(each if each.isdigit() or each == "-" else " " for each in text)
    return tuple(int(each) for each in separated.split() if each.strip("-"))


def counted(shape: Shape) -> str:
    """The number of elements and the sizes it comes from: `400 = 16×5×5`."""
    return f"{prod(shape)} = {times(shape)}" if len(shape) > 1 else str(prod(shape))


def set_argument(failure: Failure, argument: str, value: object) -> str:
    """The advice to build the module with another argument."""
    return f"set {argument}={value} in {failure.name}"


def operands(failure: Failure, told_already: str) -> str:
    """Every operand and parameter with its shape; empty if what was told already says it all.

    With the dtypes that are no floats, with all of them if the floats differ, and with devices that differ.
    """
    # A counter, as batch norm has, plays no part in what can be wrong with shapes.
    tensors = [*failure.tensors, *(leaf for leaf in failure.state if leaf.shape or "float" in leaf.dtype)]
    floats = {leaf.dtype for leaf in tensors if "float" in leaf.dtype}
    devices = {leaf.device for leaf in tensors}
    told = []
    for leaf in tensors[:MOST_OPERANDS]:
        words = [times(leaf.shape)]
        if len(floats) > 1 or leaf.dtype not in floats:
            words.append(leaf.dtype)
        if len(devices) > 1:
            words.append(f"on {leaf.device}")
        if not (failure.op and leaf.name[:1].isdigit()):
            words.insert(0, leaf.name)
        told.append(" ".join(words))
    if len(tensors) > MOST_OPERANDS:
        told.append(f"and {len(tensors) - MOST_OPERANDS} more")
    if all(words in told_already for words in told):
        return ""
    return f"given {', '.join(told)}"
