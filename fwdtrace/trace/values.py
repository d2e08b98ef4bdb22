"""The values that a Trace is made of: Call, Op, TensorMeta, Hook, Site. Frozen, and free of torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Entry = Literal["__call__", "forward"]

WithoutGrad = Literal["no_grad", "inference_mode", "checkpoint"]
"""Why autograd makes no graph: the program turned it off, or a reentrant checkpoint did, for backward runs it again."""

Shape = tuple[int, ...]
"""The sizes of a tensor in elements, one for each dimension; -1 is the size of a ragged one."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of the elements of a tensor: the first four of the finite elements, None if there are none."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    zeros: int
    nan: int
    inf: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor came from. What is not known is None.

    `id` and `output`: it is that output, by its place in `outputs`, of the call or op with this id: the innermost one
    that made it. What only hands a tensor on did not make it, and a view is made by its op. With `call`, the id counts
    in the trace of an earlier call of the same root, the `call` of its `run`. Otherwise the tensor was an `argument` of
    the root, by the name of its leaf, or a module held it as a `parameter`, a `buffer` or a plain `attribute`, or in a
    container that is one, by its qualified name, as `masks[0]`. `hook` names the hook that put the tensor in the place
    of what a call was given, or of its output.
    """

    id: int | None = None
    output: int | None = None
    argument: str | None = None
    parameter: str | None = None
    buffer: str | None = None
    attribute: str | None = None
    call: int | None = None
    hook: str | None = None


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """A tensor without its data, and where it sits in the arguments or the result of a call.

    `name` is the parameter name of `forward`, then `.key` or `[i]` into containers; `""` is a result that is one
    tensor. `shape` is in elements; a ragged dimension of a nested tensor is -1. `dtype` is `"float32"`, never
    `"torch.float32"`. `layout` is torch's, `"strided"` unless the tensor is sparse or nested. `stats` is there only if
    it was asked for. A DTensor has `placements` on the dimensions of its mesh, `Shard(dim=0)` or `Replicate()`; its
    `shape` is that of the whole, `local_shape` that of the part on this rank. `source` says where it came from, None
    if that is not known; `changed_by` is the id of the last call or op that has written into it since it was made.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    device: str = "cpu"
    requires_grad: bool = False
    layout: str = "strided"
    stats: Stats | None = None
    placements: tuple[str, ...] = ()
    local_shape: tuple[int, ...] | None = None
    source: Source | None = None
    changed_by: int | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A leaf that is no tensor: a number, a string, `None`, an object. `value` is its short repr."""

    name: str
    value: str


Leaf = TensorMeta | Value


@dataclass(frozen=True, slots=True)
class Site:
    """A line of somebody's code: the file, the 1-based line, the qualified function and the stripped source text."""

    file: str
    line: int
    function: str
    code: str


@dataclass(frozen=True, slots=True)
class Hook:
    """Something that `__call__` runs and `forward` does not.

    `kind` is `forward_pre`, `forward`, `forward_always_call`, `full_backward_pre`, `full_backward` or `backward`, each
    also with the prefix `global_`; `compiled` for `module.compile()`; `call_override` for a class with a `__call__` of
    its own. `name` is the qualified name of the function or of the callable's class. `fired` says whether this call ran
    it, `changed` whether it put other numbers in place of the inputs or the output. `file` and `line` say where it was
    written, if known.
    """

    kind: str
    name: str
    fired: bool
    changed: bool = False
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class CallError:
    """The exception that ended a call. `raised_below` is true in the callers of the call that it came from.

    `site` is the line of the user's own code inside the call that it came from, None if it came from torch's alone.
    `outside` is the element that is no row of an embedding's table, by its place: `input[0, 116]`.
    """

    type: str
    message: str
    raised_below: bool = False
    site: Site | None = None
    outside: Value | None = None


@dataclass(frozen=True, slots=True)
class Operand:
    """The numbers of a tensor that a call or op computed with, as far as they explain its result.

    `name` is that of the leaf in the inputs; in backward it is `gradient`, what came to it, or what autograd calls a
    tensor that it has saved: `self`, `other`, `result`. `stats` is of the elements at the places where the result went
    wrong; with `everywhere` it is of all, as the shapes do not tell which belong to these places. Of a mask,
    `true_rows`, `false_rows` and `infinite_rows` are the first indices in its first dimension below which a row, along
    the last dimension, is true, false or minus infinity from end to end.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stats: Stats | None = None
    everywhere: bool = False
    true_rows: tuple[int, ...] = ()
    false_rows: tuple[int, ...] = ()
    infinite_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NonFinite:
    """How many elements of the outputs are NaN or infinite.

    `inputs_finite` says whether the inputs had no such element; `parameters` names those of the module that have one,
    or those of the model that an op was given, which are no inputs here.
    `operands` are the inputs of an innermost call or op that made NaN or infinities out of numbers that were none.
    `spoiled_inputs` names the inputs of a call of the model itself that had such an element.
    """

    nan: int
    inf: int
    inputs_finite: bool
    parameters: tuple[str, ...] = ()
    operands: tuple[Operand, ...] = ()
    spoiled_inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backward:
    """The backward of a call: its place among all in order, from 0, and its time on the host in microseconds."""

    order: int
    duration_us: float


@dataclass(frozen=True, slots=True)
class BetweenHooks:
    """What `forward` itself got and gave; None where no hook made it something else."""

    forward_inputs: tuple[Leaf, ...] | None = None
    forward_outputs: tuple[Leaf, ...] | None = None


@dataclass(frozen=True, slots=True)
class FailedModule:
    """A module that raised: its own parameters and buffers, and its `extra_repr()`, None if that is empty."""

    state: tuple[Leaf, ...] = ()
    settings: str | None = None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What was measured of a call on an accelerator, beside the time there. What was not measured is None.

    `host_us` is the host's wall time, `memory_bytes` the most that was allocated on the accelerator beyond what was
    when the call began.
    """

    host_us: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one module.

    `id` counts calls and ops in order of beginning; `parent` is a call's id. `path` is the first qualified name of the
    module (`""` is the root, None a module outside the tree; a DataParallel replica has that of the module it copies),
    `aliases` its further ones. `nth` counts the calls of this module, from 1. `inputs` is what `__call__` was given,
    before pre-hooks, `outputs` what it gave, after forward hooks. `entry` is `"forward"` when `forward` ran without its
    `__call__`. `chain` lists the functions that really ran between the caller and `forward`, and `forward`; it is empty
    if `forward` was not reached.
    `parameters` counts the elements of all parameters in the module, those of its submodules included, shared ones
    once. `duration_us` is time in microseconds, submodules included: the device's, with the host's wall time in
    `host_us`, where an accelerator's was measured, else the host's wall time. `error` is set if the call raised;
    `outputs` is empty then. `opaque` says why nothing below this call could be seen: `"compiled"` or `"script"`.
    `thread` names the thread if it was not the one that opened the recording; its calls are under those that were open
    there. `in_backward` says that backward made the call, to compute again what activation checkpointing had not kept.
    `nonfinite`, `flops` (multiply and add count as two; submodules included) and `backward` are there if asked for.
    Where the model was run several times, `duration_us` and `host_us` are medians of the warm runs, and `cold_us` is
    the time of the first. `without_grad` says, where gradients were asked for, why no graph was made of what the call
    computed. `between_hooks`, `failed_module` and `accelerator` are None in most calls; what they hold can be read from
    the call itself, as `call.host_us`.
    """

    id: int
    parent: int | None
    depth: int
    path: str | None
    class_name: str
    nth: int
    entry: Entry
    inputs: tuple[Leaf, ...] = ()
    outputs: tuple[Leaf, ...] = ()
    site: Site | None = None
    chain: tuple[str, ...] = ()
    hooks: tuple[Hook, ...] = ()
    parameters: int = 0
    duration_us: float | None = None
    error: CallError | None = None
    aliases: tuple[str, ...] = ()
    opaque: str | None = None
    thread: str | None = None
    between_hooks: BetweenHooks | None = None
    failed_module: FailedModule | None = None
    nonfinite: NonFinite | None = None
    flops: int | None = None
    backward: Backward | None = None
    accelerator: Accelerator | None = None
    in_backward: bool = False
    without_grad: WithoutGrad | None = None
    cold_us: float | None = None

    @property
    def forward_inputs(self) -> tuple[Leaf, ...] | None:
        """What `forward` itself was given, where a hook made it something else than the inputs."""
        return self.between_hooks.forward_inputs if self.between_hooks is not None else None

    @property
    def forward_outputs(self) -> tuple[Leaf, ...] | None:
        """What `forward` itself gave, where a hook made it something else than the outputs."""
        return self.between_hooks.forward_outputs if self.between_hooks is not None else None

    @property
    def state(self) -> tuple[Leaf, ...]:
        """The own parameters and buffers of a module that raised."""
        return self.failed_module.state if self.failed_module is not None else ()

    @property
    def settings(self) -> str | None:
        """The `extra_repr()` of a module that raised."""
        return self.failed_module.settings if self.failed_module is not None else None

    @property
    def host_us(self) -> float | None:
        """The host's wall time, where `duration_us` is an accelerator's."""
        return self.accelerator.host_us if self.accelerator is not None else None

    @property
    def memory_bytes(self) -> int | None:
        """The most that was allocated on an accelerator beyond what was when the call began."""
        return self.accelerator.memory_bytes if self.accelerator is not None else None


@dataclass(frozen=True, slots=True)
class Op:
    """A functional operation, `torch.flatten` or `+`, that a `forward` ran itself; `parent` is the id of its call."""

    id: int
    parent: int | None
    name: str
    inputs: tuple[Leaf, ...] = ()
    outputs: tuple[Leaf, ...] = ()
    site: Site | None = None
    error: CallError | None = None
    nonfinite: NonFinite | None = None
    without_grad: WithoutGrad | None = None


Event = Call | Op
"""What a trace holds in order of beginning."""


def tensors_in(leaves: Iterable[Leaf]) -> tuple[TensorMeta, ...]:
    """The tensors among the leaves, in order."""
    return tuple([leaf for leaf in leaves if isinstance(leaf, TensorMeta)])


def shapes_in(leaves: Iterable[Leaf]) -> tuple[Shape, ...]:
    """The shapes of the tensors among the leaves, in order."""
    return tuple([leaf.shape for leaf in leaves if isinstance(leaf, TensorMeta)])


@dataclass(frozen=True, slots=True)
class Uncalled:
    """A module with parameters of its own that did not run; `parameters` counts their elements.

    `hooks` is what a call would have run; a `forward` that is the module's alone is among them, as `instance_forward`.
    """

    path: str
    class_name: str
    parameters: int
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True, slots=True)
class Gradient:
    """A parameter after backward. `norm` is the Euclidean norm of the finite part of its gradient, None without one.

    Of a DTensor, `norm`, `nan` and `inf` are of the part on this rank.
    """

    name: str
    shape: tuple[int, ...]
    requires_grad: bool
    norm: float | None
    nan: int = 0
    inf: int = 0
