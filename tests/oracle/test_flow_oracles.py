"""The oracles of data flow judged on small models whose flow is counted by hand, and on traces with planted errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import Source, TensorMeta, Trace
from tests.oracle.flow import Known, Origin, Sides
from tests.oracle.fx_flow import Runner, Tracer
from tests.oracle.observer import Observer, expected_flow, judged


class Residual(nn.Module):
    """A residual branch whose first layer is written into, and a view that is written through."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first(x))
        view = y.view(-1)
        view.mul_(2.0)
        left, right = (y * self.scale + self.shift).chunk(2)
        return torch.cat([right, left]) + x


class Passes(nn.Module):
    """Modules and ops that give back what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.identity = nn.Identity()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.identity(x).contiguous()
        return self.identity(self.layer(y)) + y


def row(id: int, output: int = 0, changed_by: int | None = None) -> Known:
    return Known(Origin("row", id, output), changed_by)


def named(kind: str, name: str) -> Known:
    return Known(Origin(kind, name))


X = named("argument", "x")

# By hand, in the order in which they run; a row is named by its place.
RESIDUAL = [
    Sides((X,), (row(0),)),  # first
    Sides((row(0),), (row(0, 0, 1),)),  # relu, in place
    Sides((row(0, 0, 1),), (row(2),)),  # view
    Sides((row(2),), (row(2, 0, 3),)),  # mul_ on the view
    Sides((row(0, 0, 3), named("parameter", "scale")), (row(4),)),  # *
    Sides((row(4), named("buffer", "shift")), (row(5),)),  # +
    Sides((row(5),), (row(6, 0), row(6, 1))),  # chunk
    Sides((row(6, 1), row(6, 0)), (row(7),)),  # cat
    Sides((row(7), X), (row(8),)),  # +
]
PASSES = [
    Sides((X,), (X,)),  # identity
    Sides((X,), (X,)),  # contiguous
    Sides((X,), (row(2),)),  # layer
    Sides((row(2),), (row(2),)),  # identity
    Sides((row(2), X), (row(4),)),  # +
]
both = pytest.mark.parametrize(("model", "expected"), [(Residual, RESIDUAL), (Passes, PASSES)])


@both
def test_the_graph_is_read_as_counted_by_hand(model: type[nn.Module], expected: list[Sides]) -> None:
    made = model()
    runner = Runner(made, Tracer().trace(made))
    with torch.no_grad():
        runner.run(torch.ones(4, 4))
    assert [step.sides for step in runner.steps] == expected
    assert runner.results == expected[-1].outputs


@both
def test_the_kernels_are_read_as_counted_by_hand(model: type[nn.Module], expected: list[Sides]) -> None:
    trace, observer = recorded_and_observed(model())
    flow = expected_flow(trace, observer)
    root = Sides((X,), expected[-1].outputs)
    assert [without_root(sides) for sides in flow.values()] == [without_root(root, 0), *expected]


def without_root(sides: Sides, shift: int = 1) -> Sides:
    """With rows counted from the first below the root."""

    def shifted(known: Known) -> Known:
        changed_by = known.changed_by - shift if known.changed_by is not None else None
        if known.origin is None or known.origin.kind != "row":
            return Known(known.origin, changed_by)
        return Known(Origin("row", int(known.origin.name) - shift, known.origin.output), changed_by)

    return Sides(tuple(map(shifted, sides.inputs)), tuple(map(shifted, sides.outputs)))


def recorded_and_observed(model: nn.Module) -> tuple[Trace, Observer]:
    x = torch.ones(4, 4)
    with torch.no_grad(), fwdtrace.record(model, ops=True) as recording:
        model(x)
    with torch.no_grad(), Observer(model) as observer:
        model(x)
    return recording.trace, observer


def test_a_wrong_source_is_called_wrong_and_an_absent_one_missing() -> None:
    trace, observer = recorded_and_observed(Residual())
    plus = trace.ops[-1] if trace.ops else None
    assert plus is not None
    planted: list[Any] = [(Source(3, 0), "wrong"), (Source(plus.id - 1, 0), None), (None, "missing")]
    for source, expected in planted:
        first, second = (leaf for leaf in plus.inputs if isinstance(leaf, TensorMeta))
        changed = replace(plus, inputs=(replace(first, source=source, changed_by=None), second))
        judgement = judged(replace(trace, ops=(*(trace.ops or ())[:-1], changed)), observer)
        place = f"row {plus.id}, inputs[0]"
        found = [kind for kind in ("wrong", "missing") if any(place in line for line in getattr(judgement, kind))]
        assert found == ([expected] if expected else [])


def test_what_no_kernel_made_is_unexplained() -> None:
    outside = torch.ones(4)

    class Uses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + outside

    trace, observer = recorded_and_observed(Uses())
    assert expected_flow(trace, observer)[1].inputs == (X, Known(None))
