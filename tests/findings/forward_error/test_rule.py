"""FT006 on traces written by hand: where an error came from, and what is not speculated about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import Call, CallError, Finding, Site, Value
from tests.helpers.crashes import (
    PRODUCT,
    SITE,
    advised,
    advised_op,
    explained,
    explained_op,
    layer,
    linear,
    ran,
    root,
    tensor,
    trace_of,
)

FAILED = replace(layer("f5", "Linear"), error=CallError("RuntimeError", "no"))


def test_an_unknown_error_is_repeated_with_all_operands() -> None:
    message = "something\n  else went wrong."
    call = layer("m", "Strange", tensor("x", 2, 4), Value("scale", "2.0"), state=(tensor("table", 7, 3),))
    assert (
        explained(call, message) == "m (Strange) raised RuntimeError: something else went wrong; given x 2×4, table 7×3"
    )


def test_an_error_of_the_users_own_is_not_speculated_about() -> None:
    assert explained(layer("m", "Strict", tensor("x", 2)), "", type="AssertionError") == (
        "m (Strict) raised AssertionError; given x 2"
    )


def test_an_interrupt_says_where_it_came() -> None:
    assert (
        explained(layer("f5", "Linear", tensor("x", 2)), "", type="KeyboardInterrupt") == "interrupted in f5 (Linear)"
    )


def test_an_exit_is_no_error_of_the_layer() -> None:
    assert explained(layer("f5", "Linear", tensor("x", 2)), "5", type="SystemExit") == (
        "the program ended itself in f5 (Linear), as by sys.exit"
    )


def test_a_module_that_is_called_within_itself_without_end_is_named_as_such() -> None:
    error = CallError("RecursionError", "maximum recursion depth exceeded")
    for depth, says in (
        (30, "the model is called within itself without end: 30 of its calls are open at once"),
        (3, ""),
    ):
        calls = [
            Call(at, at - 1 if at else None, at, "", "Net", at + 1, "__call__", error=replace(error, raised_below=True))
            for at in range(depth)
        ]
        (finding,) = find(trace_of(*calls[:-1], replace(calls[-1], error=error)))
        assert finding.message == (says or f"the model #{depth} (Net) raised RecursionError: {error.message}")


def test_many_operands_are_counted() -> None:
    call = layer("m", "Strange", *(tensor(f"xs[{at}]", at) for at in range(10)))
    assert explained(call, "no").endswith("xs[6] 6, xs[7] 7, and 2 more")


def test_an_error_that_made_a_caller_raise_another_is_named_at_its_origin() -> None:
    message = PRODUCT.format("1x400", "256x120")
    failed = replace(linear(1, 400, features=256), error=CallError("RuntimeError", message))
    (finding,) = find(trace_of(root("ValueError", "could not encode", raised_below=False), failed))
    assert finding.call == 10
    assert finding.message.endswith(", bias 120; the model then raised ValueError: could not encode")


def test_an_error_that_was_caught_is_not_taken_for_a_later_one() -> None:
    caught = replace(linear(1, 400, features=256), id=3, error=CallError("RuntimeError", "first"))
    later = ran(4, "f6", "Linear", (1, 84), (1, 10))
    (finding,) = find(trace_of(root("ValueError", "second", raised_below=False), caught, later))
    assert (finding.call, finding.message) == (0, "the model (Net) raised ValueError: second; given x 1×3×32×32")


def test_the_later_call_of_a_shared_module_says_which_it_is() -> None:
    call = replace(layer("act", "Strange", tensor("x", 2)), nth=3)
    assert explained(call, "no") == "act #3 (Strange) raised RuntimeError: no; given x 2"


def test_the_same_failure_again_and_again_is_one_finding() -> None:
    failed = root("ValueError", "no", raised_below=False)
    findings = find(trace_of(failed, replace(failed, id=1, nth=2), replace(failed, id=2, nth=3)))
    assert [finding.call for finding in findings] == [0]


@pytest.mark.parametrize(
    "message",
    [
        "Given groups=1, weight of size [], expected input[] to have 3 channels, but got 1 channels instead",
        "Invalid channel dimensions",
        "Expected number of channels in input to be divisible by num_groups, but got input of shape [6] and"
        " num_groups=4",
        "running_mean should contain 3 elements not 4",
        "Given normalized_shape=[], expected input with shape [*], but got input of size[]",
        "index out of range in self",
        "Expected hidden[0] size (1, 3, 8), got [1, 2, 8]",
        "The shape of the 2D attn_mask is torch.Size([4]), but should be (3).",
        "Expected key_padded_mask.shape[5] to be 2, but got 3",
        "Expected size for first two dimensions of batch2 tensor to be: [] but got: [].",
        "The size of tensor a (4) must match the size of tensor b (3) at non-singleton dimension 3",
        "Sizes of tensors must match except in dimension 9. Expected size 2 but got size 3 for tensor number 1",
        "shape '[0, -1]' is invalid for input of size 0",
        PRODUCT.format("1x400", "256x120"),
    ],
)
@pytest.mark.parametrize("shapes", [(), ((),), ((0,), (-1, 4)), ((2,), (), (3, 0, -1))], ids=str)
def test_whatever_the_text_and_the_shapes_something_is_said(message: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    operands = [tensor(f"key_padding_mask[{at}]", *shape) for at, shape in enumerate(shapes)]
    state = tuple(tensor(name, *shape) for name, shape in zip(("weight", "bias"), shapes, strict=False))
    for class_name in ("Conv2d", "GroupNorm", "Embedding", "LSTM", "MultiheadAttention", "Linear"):
        call = layer("m", class_name, *operands, state=state, settings="eps=")
        assert explained(call, message)
        advised(call, message)
    for name in (
        "F.conv2d",
        "F.embedding",
        "F.scaled_dot_product_attention",
        "torch.bmm",
        "torch.cat",
        "+",
        "F.linear",
    ):
        assert explained_op(name, message, *operands)
        advised_op(name, message, *operands)


def test_an_error_is_about_the_innermost_call() -> None:
    (finding,) = find(trace_of(root("RuntimeError", "no", raised_below=True), FAILED))
    assert finding == Finding("FT006", "forward-error", 10, "f5 (Linear) raised RuntimeError: no", SITE)


def test_an_error_that_a_caller_caught_is_no_finding() -> None:
    caller = replace(root("RuntimeError", "no", raised_below=True), error=None)
    assert find(trace_of(caller, FAILED)) == ()


def test_where_no_line_of_the_model_is_on_the_stack_the_line_that_calls_it_is_named() -> None:
    failed = replace(FAILED, site=None, error=CallError("RuntimeError", "no"))
    (finding,) = find(trace_of(replace(root("RuntimeError", "no", raised_below=True), site=SITE), failed))
    assert finding.site == SITE


def test_code_that_was_made_is_no_line_to_go_to() -> None:
    error = CallError("AssertionError", "Guard failed: x.size()[0] == 2", site=Site("<string>", 3, "f", "check(x)"))
    failed = replace(layer("_guards_fn", "GuardsFn", tensor("x", 3)), error=error, site=None)
    above = replace(root("AssertionError", error.message, raised_below=True), site=SITE)
    (finding,) = find(trace_of(above, failed))
    assert finding.site == SITE
