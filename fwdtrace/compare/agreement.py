"""Two calls that belong together -> whether their inputs and their outputs agree, and how far these are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fwdtrace.compare.align import Alignment
from fwdtrace.compare.leaves import dtypes_of, other_values
from fwdtrace.compare.numbers.distance import Distance, distance_of_stats, furthest
from fwdtrace.trace import Call, Leaf, TensorMeta, Trace, shapes_in

Distances = tuple[Distance | None, Distance | None]
"""How far the inputs of two calls are apart, and their outputs; None where that is not known."""

DistancesOf = Callable[[Call, Call], Distances]
"""Measures the numbers of two calls, which somebody kept, against each other."""


@dataclass(frozen=True)
class Strictness:
    """What two calls must have alike to agree.

    With `exact`, tensors must be the same bit for bit, else within the tolerance of their dtype. The calls of a port
    need not have leaves of the same shapes, dtypes and values, as it may be built otherwise. `expected` are kinds of
    difference that were asked for, and count as no difference.
    """

    exact: bool
    is_port: bool
    expected: frozenset[str] = frozenset()

    def agree(self, leaves: tuple[Leaf, ...], others: tuple[Leaf, ...], distance: Distance | None) -> bool:
        """Whether what went into two calls agrees, or what came out; a distance that is not known is no reason."""
        if not self.is_port:
            if "shape" not in self.expected and shapes_in(leaves) != shapes_in(others):
                return False
            if "dtype" not in self.expected and dtypes_of(leaves) != dtypes_of(others):
                return False
            if other_values(leaves) != other_values(others):
                return False
        return distance is None or (distance.same if self.exact else distance.close)


def strictness_of(
    before: Trace, after: Trace, alignment: Alignment, exact: bool | None, expected: frozenset[str]
) -> Strictness:
    """How strictly to compare two traces.

    Where `exact` is None, it is true unless the second is a port or has another torch or device.
    """
    if exact is None:
        same_torch = before.versions.torch == after.versions.torch
        exact = not alignment.is_port and same_torch and before.run.device == after.run.device
    return Strictness(exact, alignment.is_port, expected)


@dataclass(frozen=True)
class ComparedCalls:
    """Two calls that belong together, and whether what went in and what came out agrees.

    `inputs_agree` is None if they have tensors whose numbers are not known. `apart` is how far the outputs are apart,
    `inputs_apart` how far the inputs are.
    """

    call: Call
    other: Call
    inputs_agree: bool | None
    outputs_agree: bool
    apart: Distance | None
    inputs_apart: Distance | None = None

    @property
    def apart_at_all(self) -> bool:
        """Whether it is known that the outputs are not the same bit for bit."""
        return self.apart is not None and not self.apart.same


def compare_calls(call: Call, other: Call, strictness: Strictness, distances_of: DistancesOf | None) -> ComparedCalls:
    """Compare two calls by the numbers that were kept, or by the statistics of their outputs."""
    if distances_of is not None:
        inputs_apart, apart = distances_of(call, other)
    else:
        inputs_apart, apart = None, _distance_of_stats(call.outputs, other.outputs)
    inputs_agree: bool | None = strictness.agree(call.inputs, other.inputs, inputs_apart)
    if inputs_agree and inputs_apart is None and any(isinstance(leaf, TensorMeta) for leaf in call.inputs):
        inputs_agree = None
    outputs_agree = strictness.agree(call.outputs, other.outputs, apart) and call.error is None and other.error is None
    return ComparedCalls(call, other, inputs_agree, outputs_agree, apart, inputs_apart)


def _distance_of_stats(leaves: tuple[Leaf, ...], others: tuple[Leaf, ...]) -> Distance | None:
    tensors, other_tensors = ([leaf for leaf in side if isinstance(leaf, TensorMeta)] for side in (leaves, others))
    return furthest(
        distance_of_stats(one.stats, other.stats, (one.dtype, other.dtype))
        for one, other in zip(tensors, other_tensors, strict=False)
        if one.stats and other.stats
    )
