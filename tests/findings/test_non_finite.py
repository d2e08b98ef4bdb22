"""FT005 on traces written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fwdtrace.findings import find
from fwdtrace.trace import Call, Finding, GradientFault, NonFinite, Op, Operand, Site, Stats, Value
from fwdtrace.trace.info import StepInfo
from tests.helpers.traces import call, tensor, trace

SITE = Site("/home/user/model.py", 20, "Net.forward", "x = x / norm")
MADE = NonFinite(3, 1, True)
PASSED_ON = NonFinite(3, 1, False)
ROOT = call(0, None, "", "Net")


def found(*calls: Call, ops: tuple[Op, ...] | None = None) -> tuple[Finding, ...]:
    return find(trace(*calls, ops=ops))


def op(id: int, name: str, nonfinite: NonFinite | None, *inputs: Any, parent: int = 0) -> Op:
    return Op(id, parent, name, inputs or (tensor(1, 16),), (tensor(1, 16),), SITE, nonfinite=nonfinite)


def test_the_innermost_call_that_made_nan_out_of_finite_inputs_is_named() -> None:
    root = replace(ROOT, nonfinite=MADE)
    inner = call(1, 0, "norm", "LayerNorm", nonfinite=MADE, line=12)
    after = call(2, 0, "head", "Linear", nonfinite=PASSED_ON)
    (finding,) = found(root, inner, after)
    assert finding == Finding(
        "FT005", "non-finite", 1, "norm (LayerNorm) made 3 NaN and 1 infinite of 16 elements out of finite inputs",
        inner.site,
    )  # fmt: skip


def test_a_call_inside_which_nothing_went_wrong_is_named_itself() -> None:
    inner = call(1, 0, "layer", "Linear")
    (finding,) = found(replace(ROOT, nonfinite=NonFinite(0, 2, True)), inner)
    assert finding.message == "the model (Net) made 2 infinite of 16 elements out of finite inputs"


def test_an_op_is_named_with_the_module_whose_forward_ran_it() -> None:
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=(op(1, "/", MADE),))
    assert (finding.call, finding.site) == (0, SITE)
    assert finding.message == "/ in the model made 3 NaN and 1 infinite of 16 elements out of finite inputs"


def test_parameters_that_had_nan_already_are_named() -> None:
    layer = call(1, 0, "layer", "Linear", nonfinite=NonFinite(16, 0, True, ("weight", "bias")))
    (finding,) = found(replace(ROOT, nonfinite=MADE), layer)
    assert finding.message == (
        "layer (Linear) made 16 NaN of 16 elements with non-finite values in its weight and bias"
    )


def test_of_weights_that_no_optimizer_wrote_it_is_said_after_which_call_they_were_written() -> None:
    spoiled = trace(replace(ROOT, nonfinite=MADE), ops=(op(1, "*", NonFinite(16, 0, True, ("norm.scale",))),))
    (finding,) = find(replace(spoiled, run=replace(spoiled.run, event="nonfinite", call=7)))
    assert finding.message == (
        "* in the model made 16 NaN of 16 elements with non-finite values in norm.scale; call 6 gave finite values, so"
        " these were written after it, or it did not use them"
    )
    rows = call(1, 0, "words", "Embedding", nonfinite=NonFinite(4, 0, True, ("weight",)))
    (finding,) = find(replace(trace(replace(ROOT, nonfinite=MADE), rows), run=replace(spoiled.run, event="nonfinite")))
    assert finding.message.endswith("non-finite values in its weight; earlier calls may have used others of them")
    (finding,) = find(replace(spoiled, run=replace(spoiled.run, event="nonfinite", call=1)))
    assert finding.message == "* in the model made 16 NaN of 16 elements with non-finite values in norm.scale"


def test_of_weights_that_an_optimizer_spoiled_it_is_said_and_where_the_model_was_called() -> None:
    site = Site("/home/user/train.py", 14, "<module>", "loss = net(x)")
    layer = replace(call(1, 0, "0", "Linear", nonfinite=NonFinite(16, 0, True, ("weight",))), site=None)
    spoiled = trace(replace(ROOT, nonfinite=MADE, site=site), layer)
    run = replace(spoiled.run, event="nonfinite", last_steps=(StepInfo(7, (0.1,), 0.5),))
    (finding,) = find(replace(spoiled, run=run))
    assert finding.site == site
    assert finding.message == (
        "0 (Linear) made 16 NaN of 16 elements with non-finite values in its weight; the gradients of step 7 were"
        " finite, so the optimizer wrote such values, or what ran after it"
    )


def test_infinities_that_became_nan_later_are_named_with_the_op_that_made_nan() -> None:
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


def test_nan_out_of_a_mask_that_hides_everything_names_the_mask() -> None:
    ops = (
        op(1, "Tensor.masked_fill", NonFinite(0, 16, True), tensor(1, 16), Value("value", "-inf")),
        op(2, "Tensor.softmax", NonFinite(16, 0, False)),
    )
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=ops)
    assert finding.message == (
        "Tensor.softmax in the model made 16 NaN of 16 elements"
        " out of the infinite values of Tensor.masked_fill in the model (line 20)"
    )


def test_nan_out_of_finite_inputs_does_not_come_from_an_earlier_mask() -> None:
    ops = (
        op(1, "Tensor.masked_fill", NonFinite(0, 4, True), tensor(1, 16), Value("value", "-inf")),
        op(2, "torch.sqrt", NonFinite(1, 0, True)),
    )
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=ops)
    assert finding.message.startswith("torch.sqrt in the model made 1 NaN of 16 elements out of finite inputs")


def test_nan_that_came_with_the_inputs_is_about_the_inputs() -> None:
    (finding,) = found(replace(ROOT, nonfinite=PASSED_ON), call(1, 0, "layer", "Linear", nonfinite=PASSED_ON))
    assert (finding.call, finding.message) == (
        0,
        "the model (Net) was given NaN or infinite values: check the inputs of the model",
    )


def test_nan_of_which_no_op_is_seen_is_not_about_the_inputs_of_a_model_that_got_finite_ones() -> None:
    (finding,) = found(replace(ROOT, nonfinite=MADE), call(1, 0, "layer", "Linear", nonfinite=PASSED_ON))
    assert (finding.call, finding.message) == (
        0,
        "the model (Net) was given finite values, and its own code handed NaN or infinite values"
        " to layer (Linear) (line 10)",
    )


def test_the_input_that_nan_came_with_is_named() -> None:
    given = replace(PASSED_ON, spoiled_inputs=("x", "batch.mask"))
    (finding,) = found(replace(ROOT, nonfinite=given), call(1, 0, "layer", "Linear", nonfinite=PASSED_ON))
    assert finding.message == (
        "the model (Net) was given NaN or infinite values in x and batch.mask: check the inputs of the model"
    )


def at(low: float, high: float, *, name: str = "0", nan: int = 0, inf: int = 0, **fields: Any) -> Operand:
    """The numbers of a tensor where a result went wrong."""
    zeros = int(low <= 0 <= high)
    return Operand(name, (1, 16), fields.pop("dtype", "float32"), Stats(low, 0.0, low, high, zeros, nan, inf), **fields)


def message_of(name: str, numbers: NonFinite, *inputs: Any) -> str:
    (finding,) = found(replace(ROOT, nonfinite=numbers), ops=(op(1, name, numbers, *inputs),))
    return finding.message.partition(" finite inputs")[2]


def test_the_reason_is_in_the_numbers_that_the_op_was_given_there() -> None:
    assert message_of("torch.log", NonFinite(0, 3, True, (), (at(0, 0),))) == ": its input is 0 there"
    below = ": its input is below 0 there, down to -2"
    assert message_of("torch.log", NonFinite(3, 0, True, (), (at(-2, -1),))) == below
    assert message_of("Tensor.sqrt_", NonFinite(3, 0, True, (), (at(-2, -1),))) == below
    above = ": its input is above 1 there, up to 1.5"
    assert message_of("torch.acos", NonFinite(3, 0, True, (), (at(1.25, 1.5),))) == above
    operands = at(1, 1), at(0, 0, name="1")
    inputs = tensor(1, 16, name="0"), tensor(1, 16, name="1")
    assert message_of("/", NonFinite(0, 3, True, (), operands), *inputs) == ": its divisor is 0 there"
    assert message_of("/", NonFinite(0, 3, True, (), operands[:1]), inputs[0], Value("1", "0")) == ": it divides by 0"


def test_a_number_that_is_too_large_for_its_type_is_told_with_the_end_of_the_type() -> None:
    overflow = NonFinite(0, 3, True, (), (at(-300, 400, dtype="float16"),))
    half = replace(op(1, "*", overflow), outputs=(tensor(1, 16, dtype="float16"),))
    (finding,) = found(replace(ROOT, nonfinite=overflow), ops=(half,))
    assert finding.message.endswith(": float16 ends at 65,504; its inputs go up to 400")


def test_a_sum_of_products_that_is_nan_has_got_too_large_in_between() -> None:
    numbers = NonFinite(16, 0, True, (), (at(-3e6, 2e6),))
    half = tensor(1, 16, dtype="float16")
    why = "16 NaN of 16 elements out of finite inputs: float16 ends at 65,504; its inputs go up to 3e+06"
    layer = replace(call(1, 0, "up", "Linear", nonfinite=numbers), outputs=(half,))
    (finding,) = found(replace(ROOT, nonfinite=NonFinite(16, 0, True)), layer)
    assert finding.message == f"up (Linear) made {why}"
    product = replace(op(1, "@", numbers), outputs=(half,))
    (finding,) = found(replace(ROOT, nonfinite=NonFinite(16, 0, True)), ops=(product,))
    assert finding.message == f"@ in the model made {why}"
    other = replace(op(1, "torch.lgamma", numbers), outputs=(half,))
    (finding,) = found(replace(ROOT, nonfinite=NonFinite(16, 0, True)), ops=(other,))
    assert finding.message.endswith("out of finite inputs")


def test_numbers_that_explain_nothing_are_not_made_a_reason_of() -> None:
    assert message_of("torch.special.whatever", NonFinite(3, 0, True, (), (at(-2, 5),))) == ""
    assert message_of("torch.log", NonFinite(3, 0, True, (), (at(1, 5),))) == ""


def test_a_row_of_minus_infinity_is_told_where_nan_came_up_though_no_input_had_a_nan() -> None:
    numbers = NonFinite(4, 0, False, (), (at(0, 1, inf=4, infinite_rows=(2,)),))
    ops = (op(1, "+", NonFinite(0, 4, False)), op(2, "F.softmax", numbers))
    (finding,) = found(replace(ROOT, nonfinite=MADE), ops=ops)
    assert finding.message.startswith(
        "F.softmax in the model made 4 NaN of 16 elements out of infinite values: its input"
    )


FAULT = GradientFault("non-finite", 3, 1, "SqrtBackward0", 16, 2, 0, ("a.weight",))


def test_a_fault_in_backward_is_told_with_its_op_and_reason() -> None:
    fault = replace(FAULT, operands=(at(1, 1, name="gradient"), at(0, 0, name="result")))
    (finding,) = find(trace(ROOT, ops=(op(1, "torch.sqrt", None),), gradient_faults=(fault,)))
    assert (finding.call, finding.site) == (0, SITE)
    assert finding.message == (
        "the backward of torch.sqrt in the model made 2 NaN of 16 elements out of a finite gradient:"
        " its input is 0 there, where the slope of a square root is infinite"
    )


def test_of_several_faults_the_first_that_worked_on_finite_numbers_is_told() -> None:
    inherits = replace(FAULT, order=1, event=2, node="MmBackward0", operands=(at(0, 1, name="mat2", nan=1),))
    ops = (op(1, "torch.sqrt", None), op(2, "@", None))
    (finding,) = find(trace(ROOT, ops=ops, gradient_faults=(inherits, FAULT)))
    assert finding.message.startswith("the backward of torch.sqrt in the model")
    (finding,) = find(trace(ROOT, ops=ops, gradient_faults=(inherits,)))
    assert finding.message.endswith(
        "its second operand was not finite in forward already, which --check-finite looks for"
    )


def test_after_a_forward_that_gave_nan_backward_is_not_told_of() -> None:
    root = replace(ROOT, nonfinite=MADE)
    (finding,) = find(trace(root, ops=(op(1, "torch.sqrt", MADE),), gradient_faults=(FAULT,)))
    assert finding.message.startswith("torch.sqrt in the model made 3 NaN")


def test_a_gradient_that_came_to_the_model_as_nan_is_left_to_the_finding_about_gradients() -> None:
    assert find(trace(ROOT, gradient_faults=(GradientFault("non-finite", 0, parameters=("a",)),))) == ()


def test_a_target_that_does_not_fit_its_frames_is_the_reason_of_an_infinite_ctc_loss() -> None:
    fits = "a target does not fit its frames, of which it needs one for each label and one between two equal ones"
    made = NonFinite(0, 1, True, operands=(Operand("log_probs", (1, 16), "float32"),))
    loss = call(1, 0, "loss", "CTCLoss", nonfinite=made)
    (finding,) = found(replace(ROOT, nonfinite=NonFinite(0, 1, True)), loss)
    assert finding.message.endswith(f"1 infinite of 16 elements out of finite inputs: {fits}")
