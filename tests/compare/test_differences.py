"""All that two traces record is compared, and what is not the same is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.compare import compare_traces
from fwdtrace.trace import Call, CallError, Gradient, NonFinite, Op, Trace, Uncalled, Value
from tests.helpers.traces import call, everything, lenet, odd, tensor, trace

ROOT = call(0, None, "", "Net")
GRADIENT = Gradient("a.weight", (4, 4), True, 0.5)


def differences(before: Trace, after: Trace) -> list[tuple[str, str, str, str]]:
    found = compare_traces(before, after).differences
    return [(each.kind, each.severity, each.before, each.after) for each in found]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"outputs": (tensor(1, 16), Value("[1]", "2.0"))}, ("value", "numbers", "none", "[1]=2.0")),
        ({"outputs": (replace(tensor(1, 16), requires_grad=True),)}, ("requires_grad", "gradients", "False", "True")),
        ({"outputs": (replace(tensor(1, 16), device="meta"),)}, ("device", "structure", "that of the run", "meta")),
        ({"outputs": (replace(tensor(1, 16), layout="sparse_coo"),)}, ("layout", "structure", "strided", "sparse_coo")),
        ({"nonfinite": NonFinite(3, 1, True)}, ("non-finite", "numbers", "none recorded", "3 NaN and 1 infinite")),
        ({"chain": ("Net.forward",)}, ("chain", "observation", " → ".join(ROOT.chain), "Net.forward")),
        ({"opaque": "script"}, ("seen inside", "observation", "all", "script")),
    ],
)  # fmt: skip
def test_what_is_recorded_of_a_call_is_compared(change: dict[str, object], expected: tuple[str, ...]) -> None:
    before = trace(replace(ROOT, inputs=(), outputs=(tensor(1, 16),)))
    after = trace(replace(ROOT, inputs=(), **{"outputs": (tensor(1, 16),), **change}))  # type: ignore[arg-type]
    assert differences(before, after) == [expected]


def test_how_torch_runs_hooks_is_no_difference_between_two_versions_of_it() -> None:
    before = trace(replace(ROOT, inputs=(), chain=("Module._call_impl", "Module._call_impl.inner", "Net.forward")))
    after = trace(replace(ROOT, inputs=(), chain=("Module._call_impl", "Net.forward")))
    assert [kind for kind, *_ in differences(before, after)] == ["chain"]
    assert differences(before, replace(after, versions=replace(after.versions, torch="2.4.1"))) == []


def test_gradients_are_compared_where_both_traces_have_them() -> None:
    before = replace(trace(ROOT), gradients=(GRADIENT,))
    for gradient, text in (
        (replace(GRADIENT, norm=None), "none (4×4)"),
        (replace(GRADIENT, norm=0.25), "of norm 0.25 (4×4)"),
        (replace(GRADIENT, nan=2), "of norm 0.5 with 2 NaN and 0 infinite (4×4)"),
        (replace(GRADIENT, requires_grad=False), "of norm 0.5 (4×4, does not require one)"),
    ):
        after = replace(before, gradients=(gradient,))
        assert differences(before, after) == [("gradient", "gradients", "of norm 0.5 (4×4)", text)]
    assert differences(before, replace(before, gradients=())) == [
        ("gradient", "gradients", "of norm 0.5 (4×4)", "of no such parameter")
    ]
    alone = compare_traces(before, trace(ROOT))
    assert alone.equal
    assert "gradients were recorded in the first only, and not compared" in alone.notes


def test_the_mode_and_the_modules_that_did_not_run_are_compared() -> None:
    before, after = trace(ROOT), replace(trace(ROOT), uncalled=(Uncalled("spare", "Linear", 20),))
    assert differences(before, after) == [("not run", "structure", "none", "does not run")]
    trained = replace(before, model=replace(before.model, training=not before.model.training))
    assert [kind for kind, *_ in differences(before, trained)] == ["mode"]


def test_what_an_op_was_given_is_compared() -> None:
    def scaled(by: str) -> Trace:
        return trace(ROOT, ops=(Op(1, 0, "*", (tensor(1, 16), Value("", by)), (tensor(1, 16),)),))

    assert differences(scaled("2.0"), scaled("3.0")) == [("op argument", "structure", "2.0", "3.0")]


def test_other_words_of_one_exception_are_a_difference_but_other_addresses_are_none() -> None:
    def raised(message: str) -> Trace:
        return trace(replace(ROOT, outputs=(), error=CallError("ValueError", message)))

    assert differences(raised("no row 1"), raised("no row 2")) == [("exception", "exception", "no row 1", "no row 2")]
    assert differences(raised("<A at 0x7f0012345678>"), raised("<A at 0x7f00deadbeef>")) == []


def test_a_trace_never_differs_from_itself_whatever_the_times() -> None:
    def slower(one: Call) -> Call:
        return replace(one, duration_us=1e6)

    for one in (lenet(), lenet(direct=True), everything(), *map(odd, range(20))):
        assert differences(one, one) == []
        assert differences(one, replace(one, calls=tuple(map(slower, one.calls)))) == []
