"""Two snapshots of a step, made by hand: what differs between them, in words, and what was measured of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fwdtrace.compare.difference import Difference
from fwdtrace.compare.direct.comparison import Measurement
from fwdtrace.compare.direct.differences import differences_of
from fwdtrace.compare.direct.measurements import measurements_of
from fwdtrace.compare.direct.step import Snapshot, StepError
from fwdtrace.models.randomness import RandomState, random_state

RANDOM = random_state()
ROW = torch.tensor([1.0, -4.0])
ERROR = StepError("forward", "ValueError", "no such row. Try another\nmore")


def snapshot(**fields: Any) -> Snapshot:
    return Snapshot(**{"random": RANDOM, "drew": False, **fields})


def differences(called: Snapshot, direct: Snapshot) -> list[Difference]:
    return list(differences_of(called, direct, "f(x)", "f.forward(x)"))


@pytest.mark.parametrize(
    ("one", "other", "severity", "message"),
    [
        (ROW, ROW + 0.5, "numbers", "the output differs by up to 0.5"),
        (ROW, ROW + 1e-6, "rounding", "the output differs by up to 9.54e-07"),
        (ROW, torch.tensor([1.0, math.nan]), "numbers", "the output is NaN or infinite on one side only"),
        (ROW, ROW.double(), "numbers", "the output is 2 float64 instead of 2 float32"),
        (ROW, ROW[None], "numbers", "the output is 1×2 float32 instead of 2 float32"),
        (ROW, 3, "numbers", "the output is 3 instead of 2 float32"),
        (1.5, 2.5, "numbers", "the output is 2.5 instead of 1.5"),
    ],
)
def test_an_output_differs_by_its_numbers_or_its_kind(one: Any, other: Any, severity: str, message: str) -> None:
    (found,) = differences(snapshot(outputs={"": one}), snapshot(outputs={"": other}))
    assert (found.kind, found.severity, found.message) == ("output", severity, message)


def test_outputs_that_only_one_side_gives() -> None:
    one, other = snapshot(outputs={".a": ROW}), snapshot(outputs={".b": 3})
    assert [(found.path, found.before, found.after, found.message) for found in differences(one, other)] == [
        ("a", "there", "missing", "output a (2 float32) is given by f(x) only"),
        ("b", "missing", "there", "output b (3) is given by f.forward(x) only"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (
            ROW,
            None,
            ("missing-gradient", "gradients", "w gets a gradient from f(x) and silently none from f.forward(x)"),
        ),
        (
            None,
            ROW,
            ("missing-gradient", "gradients", "w gets a gradient from f.forward(x) and silently none from f(x)"),
        ),
        (
            3 * ROW,
            ROW,
            ("gradient", "gradients", "the gradient of w differs by up to 8, as f(x) makes it 3 times as large"),
        ),
        (ROW, ROW + 1, ("gradient", "gradients", "the gradient of w differs by up to 1")),
        (ROW, ROW + 1e-6, ("gradient", "rounding", "the gradient of w differs by up to 9.54e-07")),
    ],
)
def test_gradients_are_missing_larger_or_other(one: Any, other: Any, found: tuple[str, str, str]) -> None:
    (difference,) = differences(snapshot(gradients={"w": one}), snapshot(gradients={"w": other}))
    assert (difference.kind, difference.severity) == found[:2]
    assert difference.message == found[2]


def test_buffers_random_states_training_flags_and_graphs_are_compared() -> None:
    count = torch.tensor(3)
    other_random = RandomState(RANDOM.python, RANDOM.numpy, RANDOM.cpu + 1, RANDOM.devices)
    one = snapshot(buffers={"n": count, "old": ROW}, graph=("MulBackward0",), training="unchanged")
    two = snapshot(
        buffers={"n": count + 1}, graph=("AddBackward0",), training="changed in drop", random=other_random, drew=True
    )
    assert [(found.kind, found.message) for found in differences(one, two)] == [
        ("buffer", "buffer n is 3 after f(x) and 4 after f.forward(x)"),
        ("buffer", "buffer old is there after f(x) only"),
        ("random-state", "f.forward(x) drew other random numbers than f(x)"),
        ("training", "training flags: unchanged by f(x), changed in drop by f.forward(x)"),
        (
            "autograd-graph",
            "the autograd graph is 1 node by f(x) and 1 node by f.forward(x), without MulBackward0 and with "
            "AddBackward0",
        ),
    ]


def test_a_step_that_raised_is_compared_by_its_exception_alone() -> None:
    raised, fine = snapshot(raised=ERROR, outputs={"": ROW}), snapshot()
    text = "ValueError in forward: no such row"
    (found,) = differences(fine, raised)
    assert found == Difference(
        "exception", "exception", "", "a result", text, f"f.forward(x) raises {text}, and f(x) does not"
    )
    assert differences(raised, raised) == []
    assert measurements_of(fine, raised) == (Measurement("outcome", "a result", text, False),)


def test_gradients_that_are_not_the_same_on_all_ranks_are_a_difference_if_a_call_makes_them_so() -> None:
    one = snapshot(on_all_ranks={"a": True, "b": True, "c": False})
    two = snapshot(on_all_ranks={"a": True, "b": False, "c": False})
    (found,) = differences(one, two)
    assert (found.kind, found.path) == ("unsynchronised", "b")
    assert found.message == (
        "gradients are not synchronised: of 3 parameters, 1 has another gradient on each rank after f.forward(x), "
        "none after f(x)"
    )


def test_everything_that_was_compared_is_measured_also_where_it_is_the_same() -> None:
    graph = {"graph": ("MulBackward0",), "grad_fn": "MulBackward0"}
    one = snapshot(outputs={"": ROW}, gradients={"w": ROW, "b": ROW}, buffers={"n": ROW}, **graph)
    two = snapshot(outputs={"": ROW + 1}, gradients={"w": ROW + 1, "b": None}, buffers={"n": ROW}, **graph)
    assert measurements_of(one, two) == (
        Measurement("output", "2 float32", "other numbers", False),
        Measurement("grad_fn", "MulBackward0", "MulBackward0", True),
        Measurement("autograd graph", "1 node", "the same nodes", True),
        Measurement("gradients", "2 of 2 parameters", "1 of 2 differ, 1 of 2 missing", False),
        Measurement("buffers", "1", "bit-identical", True),
        Measurement("random state", "none drawn", "bit-identical", True),
        Measurement("training flags", "unchanged", "unchanged", True),
    )
