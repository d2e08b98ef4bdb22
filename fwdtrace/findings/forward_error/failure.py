"""What raised and what is known about it: the operands, the parameters, and where they came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

from fwdtrace.findings.forward_error.changes import Built, Change, Given, Operand, PassedTo, Proposal, Step
from fwdtrace.findings.forward_error.makers import makers_of_size
from fwdtrace.findings.forward_error.origins import origin_text, size_text
from fwdtrace.trace import Call, CallError, Leaf, Op, Shape, TensorMeta, Trace, Value
from fwdtrace.trace.text import name_of, name_with_class, shape_text, with_nth
from fwdtrace.trace.values import tensors_in

MOST_OPERANDS = 8

CALL, OP, GIVE, BUILD, SHAPE = 1.0, 1.0, 1.5, 2.0, 3.0
"""What a change costs: of how something is called, of what the model is given, of how it is built."""


@dataclass(frozen=True)
class Misfit:
    """A size of an operand that would have to be another one.

    `either`: or the other one would have to be this. `chosen`: a layer was built to give it.
    """

    tensor: TensorMeta
    dimension: int
    wanted: int
    either: bool = False
    chosen: bool = False

    @property
    def got(self) -> int:
        """The size that it has."""
        return self.tensor.shape[self.dimension]


@dataclass(frozen=True)
class Explanation:
    """Why something raised, and what may help.

    `says` follows its name, as in "expects 256 features, got 400". `proposals` are changes that are worth a try,
    `misfits` the sizes that would have to be others. `note` is advice that only a person can try, for when none of the
    proposals works.
    """

    says: str
    proposals: tuple[Proposal, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    note: str = ""


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

    def size(self, tensor: TensorMeta, dimension: int) -> str:
        """A size of an operand, with its arithmetic and what made it."""
        return size_text(self.trace, tensor, dimension, self.call)

    def origin(self, tensor: TensorMeta) -> str:
        """Where an operand came from; "" if that is not known."""
        return origin_text(self.trace, tensor, self.call)

    def built(self, argument: str, value: int | bool | Shape) -> tuple[Proposal, ...]:
        """The layer that raised, built otherwise."""
        if self.op or self.call.path is None:
            return ()
        return (Proposal((Built(self.call.path, argument, value),), BUILD),)

    def maker_built(self, tensor: TensorMeta, dimension: int, wanted: int) -> tuple[Proposal, ...]:
        """The layers that chose a size of an operand, each built to give another."""
        makers = makers_of_size(self.trace, tensor, dimension, wanted)
        return tuple(Proposal((Built(*each),), BUILD + 0.2) for each in makers)

    def passed(self, *steps: Step, tensor: int = 0, back: tuple[Step, ...] = (), why: str = "") -> tuple[Proposal, ...]:
        """What raised, given one of its tensors after some steps."""
        if tensor >= len(self.tensors):
            return ()
        change: Change
        name = self.tensors[tensor].name
        if steps[0].method == "part":
            name = re.split(r"[.\[]", name)[0]
        if self.op is not None:
            if self.op.site is None or back:
                return ()
            change = Operand(self.op.name, self.op.site, tensor, len(self.tensors), steps)
        elif self.call.path is not None:
            change = PassedTo(self.call.path, tensor, name, steps, back)
        else:
            return ()
        here = Proposal((change,), CALL + 0.1 * len(back), why)
        source = self.tensors[tensor].source
        if back or source is None or source.argument is None or steps[0].method in ("part", "to"):
            return (here,)
        return (Proposal((Given(source.argument, steps=steps),), CALL - 0.1, why), here)


Explain = Callable[[Failure, re.Match[str]], Explanation | None]
"""A function that explains a failure by the match of torch's message; None if it is about something else."""


def sizes(text: str) -> Shape:
    """The whole numbers in a text, as in `[1, 3, 32, 32]` and `4 x 4`."""
    separated = "".join(letter if letter.isdigit() or letter == "-" else " " for letter in text)
    return tuple(int(number) for number in separated.split() if number.strip("-"))


def counted(shape: Shape) -> str:
    """The number of elements and the sizes that multiply to it: `400 = 16×5×5`; the number alone for one dimension."""
    return f"{prod(shape)} = {shape_text(shape)}" if len(shape) > 1 else str(prod(shape))


def operands(failure: Failure, explanation: str) -> str:
    """Every operand, with its shape and where it came from, and every parameter.

    "" if the explanation names all of them already. Dtypes are named that are not float, and all of them if the floats
    differ; devices are named if they differ.
    """
    # A counter, as batch norm has, plays no part in what can be wrong with shapes.
    tensors = [*failure.tensors, *(leaf for leaf in failure.state if leaf.shape or "float" in leaf.dtype)]
    floats = {leaf.dtype for leaf in tensors if "float" in leaf.dtype}
    devices = {leaf.device for leaf in tensors}
    texts = []
    for number, leaf in enumerate(tensors[:MOST_OPERANDS]):
        words = [shape_text(leaf.shape)]
        if len(floats) > 1 or leaf.dtype not in floats:
            words.append(leaf.dtype)
        if len(devices) > 1:
            words.append(f"on {leaf.device}")
        if not (failure.op and leaf.name[:1].isdigit()):
            words.insert(0, leaf.name)
        origin = failure.origin(leaf) if number < len(failure.tensors) else ""
        if origin and origin != f"the argument {leaf.name}":
            words.append(f"({origin})" if origin.startswith("the ") else f"from {origin}")
        texts.append(" ".join(words))
    if len(tensors) > MOST_OPERANDS:
        texts.append(f"and {len(tensors) - MOST_OPERANDS} more")
    if all(text in explanation for text in texts):
        return ""
    return f"given {', '.join(texts)}"
