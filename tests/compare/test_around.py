"""What was around two runs is compared first."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.compare import compare_traces
from fwdtrace.compare.around import Around
from fwdtrace.trace import Trace, Value
from tests.helpers.traces import call, trace


def around(**values: str) -> Trace:
    found = trace(call(0, None, "", "Net"))
    return replace(found, run=replace(found.run, around=tuple(Value(name, value) for name, value in values.items())))


def test_what_was_set_otherwise_is_said_and_is_no_difference_of_the_runs() -> None:
    found = compare_traces(
        around(torch="2.13.0", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", numpy="2.0"),
        around(torch="2.13.0+cu130", OMP_NUM_THREADS="4", transformers="5.0"),
    )
    assert found.around == (
        Around("torch", "2.13.0", "2.13.0+cu130"),
        Around("OMP_NUM_THREADS", "1", "4"),
        Around("MKL_NUM_THREADS", "1", None),
    )
    assert found.equal


def test_a_trace_that_does_not_say_what_was_around_is_not_compared_by_it() -> None:
    assert compare_traces(around(), around(OMP_NUM_THREADS="4")).around == ()


def test_each_is_said_in_words() -> None:
    assert Around("OMP_NUM_THREADS", None, "4").text == "OMP_NUM_THREADS: not set became 4"
    assert Around("random state", "0a", "0b").text == "the random generator was in another state"
