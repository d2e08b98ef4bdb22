"""All rules together: what is normal has no finding, and a long trace is looked at once, not once for each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import Call, CallError, Gradient, NonFinite, Op, TensorMeta, Trace, Uncalled
from tests.helpers.growth import takes_at_most
from tests.helpers.traces import call, lenet, trace

LENGTH = 10_000
WITHOUT = (TensorMeta("", (1, 16), "float32"),)
WITH = (TensorMeta("", (1, 16), "float32", requires_grad=True),)


def test_a_trace_of_normal_calls_has_no_finding() -> None:
    assert find(lenet()) == ()


def layers(outputs: tuple[TensorMeta, ...] = WITHOUT) -> tuple[Call, ...]:
    """Many layers, one after the other, each with a line of its own."""
    layer = call(1, 0, "", "Linear", outputs=outputs, parameters=20)
    return tuple(replace(layer, id=id, path=f"layers.{id}") for id in range(1, LENGTH))


def missing(calls: tuple[Call, ...]) -> tuple[Gradient, ...]:
    """A parameter of each call without a gradient, and one elsewhere that has one."""
    return (*(Gradient(f"{call.path}.weight", (4, 5), True, None) for call in calls), Gradient("last", (2,), True, 1.0))


def without_gradient(outputs: tuple[TensorMeta, ...]) -> Trace:
    root = call(0, None, "", "Net", outputs=WITH)
    ops = tuple(Op(LENGTH + id, 0, "torch.add", WITHOUT, WITHOUT) for id in range(LENGTH))
    return trace(root, *layers(outputs), ops=ops, gradients=missing(layers()))


def failing() -> Trace:
    """Many calls of the model that fail, each with another message."""
    calls: list[Call] = []
    for number in range(LENGTH // 4):
        message = (
            f"The size of tensor a ({number + 3}) must match the size of tensor b (2) at non-singleton dimension 1"
        )
        error = CallError("RuntimeError", message)
        root = call(4 * number, None, "", "Net", error=replace(error, raised_below=True))
        inputs = (TensorMeta("x", (1, number + 3), "float32"), TensorMeta("y", (1, 2), "float32"))
        calls += [root, *(call(root.id + id, root.id, f"layers.{id}", "ReLU") for id in (1, 2))]
        calls.append(call(root.id + 3, root.id, "last", "Add", inputs=inputs, error=error))
    return trace(*calls)


ROOT = call(0, None, "", "Net")
LONG: dict[str, Callable[[], Trace]] = {
    "direct calls": lambda: trace(ROOT, *(replace(layer, entry="forward") for layer in layers())),
    "NaN everywhere": lambda: trace(ROOT, *(replace(layer, nonfinite=NonFinite(1, 1, True)) for layer in layers())),
    "compiled": lambda: trace(
        ROOT,
        *(replace(layer, opaque="compiled") for layer in layers()),
        uncalled=tuple(Uncalled(f"layers.{id}.inner", "Linear", 5) for id in range(LENGTH)),
    ),
    "no grad": lambda: trace(ROOT, *layers(), gradients=missing(layers())),
    "never reached by backward": lambda: without_gradient(WITH),
    "detached": lambda: without_gradient(WITHOUT),
    "failing": failing,
}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_trace_is_looked_at_once(kind: str) -> None:
    long = LONG[kind]()
    found: list[object] = []
    # Not a hundred times as long, as if each call looked at all others.
    assert takes_at_most(20, lambda: found.extend(find(long)), LONG[kind])
    assert found
