"""The verdict on two traces, its differences and notes, letter for letter, from traces made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.compare import How, compare_traces
from fwdtrace.compare.agreement import Distances
from fwdtrace.compare.comparison import Growth, Origin
from fwdtrace.compare.differences import differences_in_weights
from fwdtrace.compare.numbers.distance import SAME, Distance
from fwdtrace.compare.weight_map import WeightMap
from fwdtrace.trace import Call, CallError, Op, Trace, Value
from tests.helpers.traces import call, tensor, trace

FAR = Distance(5.0, 0.5, 12, same=False, close=False)
ROUNDING = Distance(1e-7, 1e-7, 1, same=False, close=True)
NO_NUMBERS = "no numbers were compared: the traces hold none of the same calls; `run --save-values` keeps them"
TOLERANCE = "tolerance: float32 4e-06 of the largest element; what is within it is called rounding"


def net(*, ops: tuple[Op, ...] | None = None, **of_b: Any) -> Trace:
    """A model of three layers; `of_b` are fields of the call of the second."""
    return trace(
        call(0, None, "", "Net"),
        call(1, 0, "a", "Linear", parameters=4),
        call(2, 0, "b", of_b.pop("class_name", "ReLU"), **of_b),
        call(5, 0, "c", "Linear", parameters=4),
        ops=ops,
    )


def apart_from(first: int, distance: Distance) -> Any:
    """Measures the calls as the same up to the one with this id, whose output and all after it are apart."""

    def measure(call: Call, other: Call) -> Distances:
        return SAME if call.id <= first else distance, distance if call.id >= first or call.id == 0 else SAME

    return measure


def test_equal_traces_without_numbers() -> None:
    found = compare_traces(net(), net())
    assert found.verdict == (
        "No difference found: 4 calls on both sides, alike in all that was recorded; numbers were not."
    )
    assert found.equal and found.notes == (NO_NUMBERS,) and found.growth == () and found.origin is None


def test_equal_traces_with_numbers() -> None:
    found = compare_traces(net(), net(), None, lambda *_: (SAME, SAME))
    assert found.verdict == "No difference found: 4 calls on both sides, and all outputs are bit-identical."
    some = compare_traces(net(), net(), None, lambda call, _: (SAME, SAME) if call.id else (None, None))
    assert some.verdict == (
        "No difference found: 4 calls on both sides, and the 3 outputs that could be compared are bit-identical."
    )


def test_rounding_is_a_difference_only_where_exactness_is_asked_for() -> None:
    exact = compare_traces(net(), net(), None, apart_from(2, ROUNDING))
    assert [(difference.path, difference.severity) for difference in exact.differences] == [
        *(("", "rounding"), ("b", "rounding"), ("c", "rounding"))
    ]
    assert exact.notes == (TOLERANCE,)
    within = compare_traces(net(), net(), How(exact=False), apart_from(2, ROUNDING))
    assert within.verdict == (
        "No difference found beyond rounding: 4 calls on both sides, outputs up to 1e-07 apart, 1e-07 of the largest "
        "element, 1 ulp."
    )


def test_the_origin_leads_with_the_reasons_and_the_growth_from_there() -> None:
    how = How(why=lambda call, other: [f"weight of {call.path} differs"], notes=("a note",))
    found = compare_traces(net(), net(), how, apart_from(2, FAR))
    assert found.verdict == (
        "The second run leaves the first at b (ReLU): its inputs agree, its output does not: weight of b differs."
    )
    assert found.origin == Origin("b", 1, "ReLU", apart=FAR, why=("weight of b differs",))
    assert found.growth == (Growth("b", 1, FAR), Growth("c", 1, FAR), Growth("", 1, FAR))
    assert found.differences[0].message == (
        "the model gives other numbers, up to 5 apart, 0.5 of the largest element, 12 ulp"
    )
    assert found.notes == ("a note", TOLERANCE)


def test_weights_that_were_not_moved_are_named_as_a_possible_reason() -> None:
    weights = WeightMap((), 2, ("b.bias", "spare"), matter=("b.bias",))
    how = How(further=tuple(differences_in_weights(weights)))
    found = compare_traces(net(), net(), how, apart_from(2, FAR))
    assert found.verdict == (
        "The second run leaves the first at b (ReLU): its inputs agree, its output does not. "
        "Weights that were not moved, or not with certainty, may be the reason: b.bias; "
        "say by --map which is which, or load both by --weights and --weights-of-second."
    )


def test_an_origin_that_calls_others_says_where_inside_it_the_numbers_part() -> None:
    ops = (Op(3, 0, "torch.relu"), Op(4, 0, "+"))

    def measure(call: Call, other: Call) -> Distances:
        return FAR if call.path == "c" else SAME, FAR if call.path in ("", "c") else SAME

    found = compare_traces(net(ops=ops), net(ops=(replace(ops[0], name="torch.tanh"), ops[1])), None, measure)
    assert found.origin == Origin(
        "",
        1,
        "Net",
        apart=FAR,
        why=("they part between b, whose output agrees, and c, whose input does not: torch.relu became torch.tanh",),
    )
    assert [difference.message for difference in found.differences if difference.kind == "ops"] == [
        "the model: ops torch.relu, + became torch.tanh, +"
    ]


def test_other_inputs_come_before_any_origin() -> None:
    one, other = net(), net()
    wider = replace(other, calls=(replace(other.calls[0], inputs=(tensor(2, 16, name="input"),)), *other.calls[1:]))
    assert compare_traces(one, wider).verdict == (
        "The two runs were given other inputs, 1×16 float32 and 2×16 float32: 1 difference found."
    )
    valued = replace(one, calls=(replace(one.calls[0], inputs=(Value("n", "3"),)), *one.calls[1:]))
    again = replace(one, calls=(replace(one.calls[0], inputs=(Value("n", "4"),)), *one.calls[1:]))
    assert (
        compare_traces(valued, again).verdict
        == "The two runs were given other inputs, n=3 and n=4: 1 difference found."
    )


def test_a_call_that_one_side_lacks_is_a_difference_in_structure() -> None:
    without = replace(net(), calls=tuple(call for call in net().calls if call.path != "b"))
    assert compare_traces(net(), without).verdict == "1 difference found, the first: b (ReLU) runs in the first only."
    assert compare_traces(without, net()).differences[0].message == "b (ReLU) runs in the second only"


def test_traits_of_a_call_are_compared() -> None:
    found = compare_traces(net(), net(class_name="Tanh", inputs=(tensor(1, 16, name="x"), Value("p", "2"))))
    assert [difference.message for difference in found.differences] == [
        "b: class ReLU became Tanh",
        "b: argument none became p=2",
    ]
    shape = compare_traces(net(), net(shape_out=(1, 8)))
    assert shape.verdict == "The second run leaves the first at b (ReLU): shape 1×16 became 1×8."


def test_an_exception_of_one_side_is_an_origin_and_of_both_a_note() -> None:
    raised = net(error=CallError("ValueError", "no"))
    assert compare_traces(net(), raised).verdict == (
        "The second run leaves the first at b (ReLU): it raised ValueError in the second."
    )
    assert "b raised ValueError in both" in compare_traces(raised, raised).notes


def test_what_makes_two_traces_hard_to_compare_is_noted() -> None:
    one = net()
    other = replace(one, run=replace(one.run, seed=1), versions=replace(one.versions, torch="2.99"))
    assert compare_traces(one, other).notes == (
        NO_NUMBERS,
        "recorded with seeds 0 and 1, so random weights and inputs are others",
        "recorded with torch 2.13.0 and 2.99",
    )
