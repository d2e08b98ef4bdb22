"""Whether two calls agree: by leaves, numbers and statistics, and how strictly; from calls made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.compare.agreement import ComparedCalls, Strictness, compare_calls, strictness_of
from fwdtrace.compare.align import align
from fwdtrace.compare.numbers.distance import NOT_COMPARABLE, SAME, Distance
from fwdtrace.trace import CallError, Leaf, Stats, TensorMeta, Value
from tests.helpers.traces import call, tensor, trace

EXACT, WITHIN, PORT = Strictness(True, False), Strictness(False, False), Strictness(False, True)
ROUNDING = Distance(1e-7, 1e-7, 1, same=False, close=True)
FAR = Distance(5.0, 5.0, None, same=False, close=False)
ONE = (tensor(2, 3),)
STATS = Stats(0.0, 1.0, -2.0, 2.0, 0, 0, 0)


@pytest.mark.parametrize(
    ("strictness", "others", "distance", "agree"),
    [
        (EXACT, ONE, SAME, True),
        (EXACT, ONE, None, True),
        (EXACT, ONE, ROUNDING, False),
        (WITHIN, ONE, ROUNDING, True),
        (WITHIN, ONE, FAR, False),
        (WITHIN, ONE, NOT_COMPARABLE, False),
        (WITHIN, (tensor(2, 4),), SAME, False),
        (PORT, (tensor(2, 4),), SAME, True),
        (PORT, ONE, FAR, False),
        (WITHIN, (tensor(2, 3, dtype="float16"),), SAME, False),
        (replace(WITHIN, expected=frozenset({"dtype"})), (tensor(2, 3, dtype="float16"),), SAME, True),
        (replace(WITHIN, expected=frozenset({"shape"})), (tensor(2, 4),), SAME, True),
        (WITHIN, (*ONE, Value("scale", "2.0")), SAME, False),
    ],
)
def test_leaves_agree_by_shape_dtype_value_and_distance(
    strictness: Strictness, others: tuple[Leaf, ...], distance: Distance | None, agree: bool
) -> None:
    assert strictness.agree(ONE, others, distance) == agree


def test_two_traces_are_compared_exactly_where_torch_device_and_names_are_the_same() -> None:
    one = trace(call(0, None, "", "Net"), call(1, 0, "a", "Linear", parameters=4))
    other = trace(call(0, None, "", "Net"), call(1, 0, "b", "Linear", parameters=4))
    on_gpu = replace(one, run=replace(one.run, device="cuda:0"))
    newer = replace(one, versions=replace(one.versions, torch="2.99"))
    found = [strictness_of(one, after, align(one, after), None, frozenset()) for after in (one, other, on_gpu, newer)]
    assert found == [EXACT, PORT, WITHIN, WITHIN]
    assert strictness_of(one, one, align(one, one), False, frozenset({"ops"})) == Strictness(
        False, False, frozenset({"ops"})
    )


def with_stats(stats: Stats | None) -> TensorMeta:
    return replace(tensor(2, 3), stats=stats)


@pytest.mark.parametrize(
    ("stats", "apart"),
    [
        ((replace(STATS, max=7.0), replace(STATS, nan=1)), NOT_COMPARABLE),
        ((STATS, replace(STATS, max=7.0)), Distance(5.0, 2.5, None, same=False, close=False)),
        ((STATS, STATS), SAME),
        ((None, STATS), SAME),
        ((None, None), None),
    ],
)
def test_without_numbers_statistics_are_compared_and_the_furthest_counts(
    stats: tuple[Stats | None, ...], apart: Distance | None
) -> None:
    one = call(0, None, "", "Net", outputs=(with_stats(STATS), with_stats(STATS)))
    other = call(0, None, "", "Net", outputs=tuple(map(with_stats, stats)))
    agree = apart is None or apart.same
    assert compare_calls(one, other, EXACT, None) == ComparedCalls(one, other, None, agree, apart)


def test_the_inputs_of_a_call_without_tensors_are_known() -> None:
    one = call(0, None, "", "Net", inputs=(Value("n", "3"),))
    assert compare_calls(one, one, EXACT, None).inputs_agree is True
    assert compare_calls(one, replace(one, inputs=(Value("n", "4"),)), EXACT, None).inputs_agree is False


def test_numbers_that_were_kept_are_measured_and_a_call_that_raised_agrees_with_none() -> None:
    one = call(0, None, "", "Net")
    raised = call(0, None, "", "Net", error=CallError("ValueError", "no"))
    assert compare_calls(one, one, EXACT, lambda *_: (SAME, FAR)) == ComparedCalls(one, one, True, False, FAR, SAME)
    assert not compare_calls(raised, raised, EXACT, lambda *_: (SAME, None)).outputs_agree
