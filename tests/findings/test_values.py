"""FT005 and FT009 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.findings import find
from fwdtrace.trace import Call, Finding, Hook, NonFinite, Op, Site, Value
from tests.helpers.traces import call, tensor, trace

SITE = Site("/home/user/model.py", 20, "Net.forward", "x = x / norm")
MADE = NonFinite(3, 1, True)
PASSED_ON = NonFinite(3, 1, False)
ROOT = call(0, None, "", "Net")


def found(*calls: Call, ops: tuple[Op, ...] | None = None) -> tuple[Finding, ...]:
    return find(trace(*calls, ops=ops))


def op(id: int, name: str, nonfinite: NonFinite | None, *inputs: Any, parent: int = 0) -> Op:
    return Op(id, parent, name, inputs or (tensor(1, 16),), (tensor(1, 16),), SITE, nonfinite=nonfinite)


def test_the_innermost_call_that_made_nan_out_of_finite_inputs_is_told() -> None:
    root = replace(ROOT, nonfinite=MADE)
    inner = call(1, 0, "norm", "LayerNorm", nonfinite=MADE, line=12)
    after = call(2, 0, "head", "Linear", nonfinite=PASSED_ON)
    (finding,) = found(root, inner, after)
    assert finding == Finding(
        "FT005", "non-finite", 1, "norm (LayerNorm) made 3 NaN and 1 infinite of 16 elements out of finite inputs",
        inner.site,
    )  # fmt: skip


def test_a_call_inside_which_nothing_went_wrong_is_itself_to_blame() -> None:
    inner = call(1, 0, "layer", "Linear")
    (finding,) = found(replace(ROOT, nonfinite=NonFinite(0, 2, True)), inner)
    assert finding.message == "the model (Net) made 2 infinite of 16 elements out of finite inputs"


def test_an_op_is_told_with_the_module_whose_forward_ran_it() -> None:
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=(op(1, "/", MADE),))
    assert (finding.call, finding.site) == (0, SITE)
    assert finding.message == "/ in the model made 3 NaN and 1 infinite of 16 elements out of finite inputs"


def test_parameters_that_had_nan_already_are_named() -> None:
    layer = call(1, 0, "layer", "Linear", nonfinite=NonFinite(16, 0, True, ("weight", "bias")))
    (finding,) = found(replace(ROOT, nonfinite=MADE), layer)
    assert finding.message == (
        "layer (Linear) made 16 NaN of 16 elements with non-finite values in its weight and bias"
    )


def test_infinities_that_became_nan_later_are_told_with_where() -> None:
    ops = (op(1, "torch.exp", NonFinite(0, 2, True)), op(2, "-", NonFinite(2, 0, False)))
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=ops)
    assert finding.message == (
        "torch.exp in the model made 2 infinite of 16 elements out of finite inputs;"
        " - in the model then made NaN of them (line 20)"
    )


def test_a_mask_that_is_meant_is_no_finding() -> None:
    ops = (op(1, "Tensor.masked_fill", NonFinite(0, 4, True), tensor(1, 16), Value("value", "-inf")),)
    assert found(ROOT, ops=ops) == ()


def test_infinities_that_ops_alone_saw_are_no_finding() -> None:
    assert found(ROOT, ops=(op(1, "torch.log", NonFinite(0, 4, True)),)) == ()


def test_nan_out_of_a_mask_that_hides_everything_is_told_with_the_mask() -> None:
    ops = (
        op(1, "Tensor.masked_fill", NonFinite(0, 16, True), tensor(1, 16), Value("value", "-inf")),
        op(2, "Tensor.softmax", NonFinite(16, 0, False)),
    )
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=ops)
    assert finding.message == (
        "Tensor.softmax in the model made 16 NaN of 16 elements"
        " out of the infinite values of Tensor.masked_fill in the model (line 20)"
    )


def test_nan_out_of_finite_inputs_is_not_blamed_on_an_earlier_mask() -> None:
    ops = (
        op(1, "Tensor.masked_fill", NonFinite(0, 4, True), tensor(1, 16), Value("value", "-inf")),
        op(2, "torch.sqrt", NonFinite(1, 0, True)),
    )
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=ops)
    assert finding.message.startswith("torch.sqrt in the model made 1 NaN of 16 elements out of finite inputs")


def test_nan_that_came_with_the_inputs_is_told_of_them() -> None:
    (finding,) = found(replace(ROOT, nonfinite=PASSED_ON), call(1, 0, "layer", "Linear", nonfinite=PASSED_ON))
    assert (finding.call, finding.message) == (
        0,
        "the model (Net) was given NaN or infinite values: check the inputs of the model",
    )


HOOK = Hook("forward", "app.hooks.crop", True, True, "/home/user/hooks.py", 7)


def test_a_hook_that_replaced_an_output_is_told_with_what_became_of_it() -> None:
    cropped = call(1, 0, "layer", "Linear", hooks=(HOOK,), shape_out=(1, 8), forward_outputs=(tensor(1, 16),))
    assert found(ROOT, cropped) == (
        Finding(
            "FT009",
            "hook-changed-value",
            1,
            "the hook crop replaced the output of layer: 1×16 float32 became 1×8 float32",
            Site("/home/user/hooks.py", 7, "app.hooks.crop", ""),
        ),
    )


def test_a_hook_that_replaced_an_input_is_told_with_both() -> None:
    hook = replace(HOOK, kind="forward_pre", file=None, line=None)
    cast = call(1, 0, "layer", "Linear", hooks=(hook,), forward_inputs=(tensor(1, 16, dtype="float16"),))
    (finding,) = found(ROOT, cast)
    assert finding.message == ("the hook crop replaced the input of layer: 1×16 float32 became 1×16 float16")
    assert finding.site == cast.site


def test_one_hook_on_many_modules_is_one_finding() -> None:
    calls = [
        call(id, 0, f"layers.{id}", "Linear", hooks=(HOOK,), forward_outputs=(tensor(1, 16),)) for id in range(1, 7)
    ]
    (finding,) = found(ROOT, *calls)
    assert finding.message == (
        "the hook crop replaced the output of layers.1, layers.2, layers.3 and 3 more:"
        " 1×16 float32, as before, with other values"
    )


def test_a_hook_that_only_looked_is_no_finding() -> None:
    assert found(ROOT, call(1, 0, "layer", "Linear", hooks=(replace(HOOK, changed=False),))) == ()
