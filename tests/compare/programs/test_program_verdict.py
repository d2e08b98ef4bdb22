"""What is said of one call of two programs, in which the weights, the forward and the backward are told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.compare.comparison import ComparedStep
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.compare.programs.program_steps import Weights
from fwdtrace.compare.programs.program_verdict import OneStep, program_verdict
from fwdtrace.compare.traces import How, compare_traces
from fwdtrace.trace import Gradient
from tests.helpers.traces import call, trace


@pytest.mark.parametrize(
    ("apart", "said"),
    [
        (("bn.mean",), "buffers part, between call 1 and call 2, and no parameter does: 1 of 3"),
        (("bn.mean", "bn.weight"), "the weights part, between call 1 and call 2, where the optimizer steps: 2 of 3"),
    ],
)
def test_what_no_optimizer_writes_is_not_put_down_to_its_step(apart: tuple[str, ...], said: str) -> None:
    plain = trace(call(0, None, "", "Net"), gradients=(Gradient("bn.weight", (2,), True, 1.0),))
    ours = replace(plain, run=replace(plain.run, call=2))
    weights = Weights(tuple((name, Distance(0.5, 0.5, 9, same=False, close=False)) for name in apart), 3, ())
    step = OneStep(ours, ours, weights, compare_traces(ours, ours, How()), False, None, (ComparedStep(1, 1, True),))
    assert program_verdict(step, ()).startswith(f"Call 1 agrees. Then {said} parameters and buffers, ")
