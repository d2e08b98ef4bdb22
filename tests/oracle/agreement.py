"""One model run twice from equal states, bare under the oracle and recorded, and what differs between the two."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import fwdtrace
from fwdtrace.trace import TensorMeta, Trace
from tests.helpers import footprint
from tests.oracle.oracle import Leaf, Seen, observe

Workload = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]
Builder = Callable[[], Workload]


@dataclass
class Result:
    """What a run leaves behind: outputs, gradients, state, random state, error, and what hangs on the model."""

    outputs: list[Tensor]
    gradients: list[Tensor | None]
    input_gradients: list[Tensor | None]
    state: dict[str, Any]
    buffers: dict[str, Tensor]
    random_state: Tensor
    other_random_states: list[Any]
    error: str | None
    footprint: dict[str, Any]


def disagreements(build: Builder, *, training: bool, raises: str | None = None) -> list[str]:
    """Build and run twice; name each difference between oracle and recorder, and between bare and recorded run.

    `raises` is the type of the exception that the model is there to raise; any other outcome is a difference too.
    """
    return compared(build, training=training, raises=raises)[1]


def compared(build: Builder, *, training: bool, raises: str | None = None) -> tuple[Result, list[str]]:
    """The result of the bare run, and each difference."""
    bare = built(build)
    with observe(bare[0]) as oracle:
        expected = run(bare, training=training)
    recorded = built(build)
    with fwdtrace.record(recorded[0]) as recording:
        got = run(recorded, training=training)
    # No order is fixed for keyword arguments: that of the call and that of the parameters are both right.
    seen = [dataclasses.replace(call, inputs=tuple(sorted(call.inputs))) for call in oracle.calls]
    return expected, [
        *([] if str(expected.error).split(":")[0] == str(raises) else [f"the bare run ended with {expected.error}"]),
        *differences_in_calls(seen, seen_by(recording.trace)),
        *differences_in_results(expected, got),
    ]


def differences_with_all_options(build: Builder, *, training: bool) -> list[str]:
    """Build and run twice, bare and with everything recorded that can be; name what differs in the results."""
    return differences_from(run(built(build), training=training), build, training=training)


def differences_in_both_modes(build: Builder) -> dict[str, list[str]]:
    """Build once; in each mode run a copy bare under the oracle, one recorded, and one with everything recorded."""
    build, found = copies(build, 6), {}
    for mode in ("eval", "train"):
        expected, found[mode] = compared(build, training=mode == "train")
        found[mode] += differences_from(expected, build, training=mode == "train")
    return {mode: differences for mode, differences in found.items() if differences}


def differences_from(expected: Result, build: Builder, *, training: bool) -> list[str]:
    """Build and run with everything recorded that can be; name what differs from the results of a bare run."""
    recorded = built(build)
    with fwdtrace.record(
        recorded[0], ops=True, check_finite=True, stats=True, costs=True, gradients=training
    ) as recording:
        got = run(recorded, training=training)
    missing = [
        name
        for name, present in {
            "ops": bool(recording.trace.ops),
            "flops": any(call.flops is not None for call in recording.trace.calls),
            "statistics": any(
                leaf.stats for call in recording.trace.calls for leaf in call.outputs if isinstance(leaf, TensorMeta)
            ),
            "gradients": bool(recording.trace.gradients) == training,
        }.items()
        if not present
    ]
    return [
        *([f"the bare run ended with {expected.error}"] if expected.error else []),
        *(f"the trace has no {name}" for name in missing),
        *differences_in_results(expected, got),
    ]


def built(build: Builder) -> Workload:
    """A workload built from a given random state; the same one each time."""
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)
    return build()


def copies(build: Builder, number: int) -> Builder:
    """Build once, and give out so many that are equal: building is most of what a large model costs.

    The last one is what was built, which is copied for the others before it has run.
    """
    workload = built(build)
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()
    left = iter(range(number - 1, -1, -1))

    def another() -> Workload:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        numpy.random.set_state(states[2])
        return copy.deepcopy(workload) if next(left) else workload

    return another


def run(workload: Workload, *, training: bool) -> Result:
    """One forward call; in training mode with a backward pass after it."""
    model, args, kwargs = workload
    model.train(training)
    output: Any = None
    error = None
    try:
        with torch.set_grad_enabled(training):
            output = model(*args, **kwargs)
            if training:
                backward(output)
    except (Exception, KeyboardInterrupt) as raised:  # the model's own: both runs must end with the same one
        error = f"{type(raised).__name__}: {raised}"
    return Result(
        outputs=tensors_in(output),
        gradients=[parameter.grad for parameter in model.parameters()],
        input_gradients=[leaf.grad for leaf in tensors_in((args, kwargs)) if leaf.is_leaf],
        state=model.state_dict(),
        buffers=dict(model.named_buffers()),
        random_state=torch.get_rng_state(),
        other_random_states=[random.getstate(), numpy.random.get_state()[1].tolist()],
        error=error,
        footprint=footprint.of_a_model(model),
    )


def backward(output: Any) -> None:
    """Let the sum of all that can be differentiated flow back."""
    leaves = [leaf for leaf in tensors_in(output) if leaf.requires_grad and leaf.dtype.is_floating_point]
    if leaves:
        torch.stack([leaf.float().sum() for leaf in leaves]).sum().backward()


def tensors_in(output: Any) -> list[Tensor]:
    """All tensors of a result."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


def seen_by(trace: Trace) -> list[Seen]:
    """A trace in the oracle's terms."""
    places = {call.id: place for place, call in enumerate(trace.calls)}
    return [
        Seen(
            path=call.path,
            class_name=call.class_name,
            nth=call.nth,
            entry=call.entry,
            parent=None if call.parent is None else places[call.parent],
            inputs=tuple(sorted(leaves(call.inputs))),
            outputs=leaves(call.outputs),
            raised=call.error is not None,
        )
        for call in trace.calls
    ]


def leaves(recorded: tuple[Any, ...]) -> tuple[Leaf, ...]:
    """The tensors among recorded leaves as (name, shape, dtype)."""
    return tuple((leaf.name, leaf.shape, leaf.dtype) for leaf in recorded if isinstance(leaf, TensorMeta))


def differences_in_calls(expected: list[Seen], got: list[Seen]) -> list[str]:
    """The first calls in which two accounts differ, field by field."""
    found = [
        f"call {place} ({right.path or right.class_name}): {field} is {vars(left)[field]!r}, not {vars(right)[field]!r}"
        for place, (right, left) in enumerate(zip(expected, got, strict=False))
        for field in vars(right)
        if vars(left)[field] != vars(right)[field]
    ]
    if len(expected) != len(got):
        found.append(f"{len(got)} calls, not {len(expected)}")
    return found[:10]


def differences_in_results(expected: Result, got: Result) -> list[str]:
    """What the recorded run left otherwise than the bare one."""
    return [field for field in vars(expected) if not same(vars(expected)[field], vars(got)[field])]


def same(left: Any, right: Any) -> bool:
    """Bit for bit the same, tensors inside containers too."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return same_tensor(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


def same_tensor(left: Tensor, right: Tensor) -> bool:
    """Bit for bit the same values, NaN equal to NaN, and everything else about a tensor."""
    if traits(left) != traits(right):
        return False
    if left.is_nested:
        return all(map(same_tensor, left.unbind(), right.unbind()))
    if left.layout is not torch.strided:
        return torch.equal(left.to_dense(), right.to_dense())
    if left.is_quantized:
        return torch.equal(left.int_repr(), right.int_repr())
    return left.shape == right.shape and torch.equal(bits(left), bits(right))


def traits(tensor: Tensor) -> tuple[Any, ...]:
    """All that makes up a tensor but its values."""
    return type(tensor), tensor.dtype, tensor.layout, tensor.requires_grad, tensor.is_nested, type(tensor.grad_fn)


def bits(tensor: Tensor) -> Tensor:
    """The elements of a tensor as integers, so that NaN equals NaN and -0 differs from 0."""
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32}.get(tensor.element_size(), torch.int64)
    return tensor.detach().contiguous().reshape(-1).view(integers)
