"""FT006 on hand-written traces: where an error came from, arguments and dtypes, and what is not speculated about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import CallError, Leaf, Value
from tests.helpers.crashes import PRODUCT, layer, linear, ran, root, tensor, told, told_of_op, trace_of


def test_dtypes_that_differ_are_told_with_both_ways_out() -> None:
    call = linear(2, 4, features=4, out=4, dtype="float16")
    assert told(call, "mat1 and mat2 must have the same dtype, but got Float and Half") == (
        "f5 (Linear) expects float16, as its parameters are, got float32; given input 2×4 float32, weight 4×4 float16,"
        " bias 4 float16; convert the input, x.to(torch.float16), or the module, f5.to(torch.float32)"
    )


def test_whole_numbers_are_told_to_be_converted_and_never_the_model() -> None:
    call = replace(linear(2, 4, features=4, out=4), inputs=(tensor("input", 2, 4, dtype="int64"),))
    assert told(call, "mat1 and mat2 must have the same dtype, but got Long and Float") == (
        "f5 (Linear) expects float32, as its parameters are, got int64; given input 2×4 int64, weight 4×4, bias 4;"
        " convert the input, x.to(torch.float32)"
    )


def test_a_dtype_that_is_nowhere_in_the_trace_is_not_explained() -> None:
    call = layer("m", "Mixes", tensor("ids", 2, dtype="int64"), state=(tensor("w", 4, 4),))
    message = "mat1 and mat2 must have the same dtype, but got Half and Float"
    assert told(call, message) == f"m (Mixes) raised RuntimeError: {message}; given ids 2 int64, w 4×4"


def test_parameters_on_meta_are_told_to_have_no_data() -> None:
    state = (tensor("weight", 4, 4, device="meta"),)
    call = layer("f5", "Linear", tensor("input", 2, 4), state=state)
    assert told(call, "Tensor on device meta is not on the expected device cpu!") == (
        "f5 (Linear) needs its tensors on one device, got cpu and meta; given input 2×4 on cpu, weight 4×4 on meta;"
        " f5 has no data on meta: materialise it, .to_empty(device=…), and load its weights"
    )


def test_an_input_on_another_device_is_told_with_both_ways_out() -> None:
    call = layer("f5", "Linear", tensor("input", 2, 4), state=(tensor("weight", 4, 4, device="cuda:0"),))
    message = (
        "Expected all tensors to be on the same device, but got mat1 is on cpu, different from other tensors on cuda:0"
    )
    assert told(call, message).endswith("; move the input, x.to('cuda:0'), or the model, model.to('cpu')")


@pytest.mark.parametrize(
    ("message", "inputs", "says"),
    [
        (
            "Decoder.forward() missing 1 required positional argument: 'memory'", (tensor("x", 2, 4),),
            "decoder (Decoder) was called without its argument memory; given x 2×4; pass memory",
        ),
        (
            "Decoder.forward() got an unexpected keyword argument 'mask'", (tensor("x", 2, 4), Value("mask", "None")),
            "decoder (Decoder) has no argument mask (given mask=None); given x 2×4; drop mask, or add it to forward",
        ),
        (
            "Decoder.forward() takes 3 positional arguments but 4 were given", (tensor("x", 2, 4),),
            "decoder (Decoder) takes 2 positional arguments, got 3; given x 2×4",
        ),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_forward_are_named(message: str, inputs: tuple[Leaf, ...], says: str) -> None:
    assert told(layer("decoder", "Decoder", *inputs), message, type="TypeError") == says


def test_arguments_that_do_not_fit_something_called_in_forward_are_not_the_calls_own() -> None:
    message = "Head.forward() missing 1 required positional argument: 'memory'"
    inner = replace(ran(11, "decoder.norm", "LayerNorm", (2,), (2,)), parent=10)
    failed = replace(layer("decoder", "Decoder", tensor("x", 2)), error=CallError("TypeError", message))
    (finding,) = find(trace_of(root("TypeError", message, raised_below=True), failed, inner))
    assert finding.message == f"decoder (Decoder) raised TypeError: {message}; given x 2"


def test_a_list_of_modules_that_is_called_is_told_to_be_looped_over() -> None:
    call = layer("blocks", "ModuleList", tensor("input[0]", 2, 4))
    message = 'Module [ModuleList] is missing the required "forward" function'
    assert told(call, message, type="NotImplementedError") == (
        "blocks (ModuleList) has no forward: it only holds modules; given input[0] 2×4;"
        " loop over its modules, or make it an nn.Sequential"
    )


def test_a_tuple_in_place_of_a_tensor_is_told_with_who_returned_it() -> None:
    parts = tensor("input[0]", 3, 2, 8), tensor("input[1][0]", 1, 2, 8), tensor("input[1][1]", 1, 2, 8)
    call = layer("f5", "Linear", *parts, state=(tensor("weight", 4, 8),))
    lstm = replace(ran(2, "lstm", "LSTM", (3, 2, 4), (3,)), outputs=tuple(replace(each, name="") for each in parts))
    message = "linear(): argument 'input' (position 1) must be Tensor, not tuple"
    assert told(call, message, lstm, type="TypeError") == (
        "f5 (Linear) expects a tensor, got a tuple, as lstm (LSTM) returned; given input[0] 3×2×8, input[1][0] 1×2×8,"
        " input[1][1] 1×2×8, weight 4×8; take the tensor out of it: input[0] is 3×2×8"
    )


def test_what_is_not_known_is_told_plainly_with_all_that_is() -> None:
    message = "something\n  else went wrong."
    call = layer("m", "Strange", tensor("x", 2, 4), Value("scale", "2.0"), state=(tensor("table", 7, 3),))
    assert told(call, message) == "m (Strange) raised RuntimeError: something else went wrong; given x 2×4, table 7×3"


def test_an_error_of_the_users_own_is_not_speculated_about() -> None:
    assert told(layer("m", "Strict", tensor("x", 2)), "", type="AssertionError") == (
        "m (Strict) raised AssertionError; given x 2"
    )


def test_an_interrupt_says_where_it_came() -> None:
    assert told(layer("f5", "Linear", tensor("x", 2)), "", type="KeyboardInterrupt") == "interrupted in f5 (Linear)"


def test_many_operands_are_counted() -> None:
    call = layer("m", "Strange", *(tensor(f"xs[{at}]", at) for at in range(10)))
    assert told(call, "no").endswith("xs[6] 6, xs[7] 7, and 2 more")


def test_an_error_that_a_caller_made_another_of_is_told_at_its_origin() -> None:
    message = PRODUCT.format("1x400", "256x120")
    failed = replace(linear(1, 400, features=256), error=CallError("RuntimeError", message))
    (finding,) = find(trace_of(root("ValueError", "could not encode", raised_below=False), failed))
    assert finding.call == 10
    assert finding.message.endswith("; set in_features=400 in f5; the model then raised ValueError: could not encode")


def test_an_error_that_was_caught_is_not_taken_for_a_later_one() -> None:
    caught = replace(linear(1, 400, features=256), id=3, error=CallError("RuntimeError", "first"))
    later = ran(4, "f6", "Linear", (1, 84), (1, 10))
    (finding,) = find(trace_of(root("ValueError", "second", raised_below=False), caught, later))
    assert (finding.call, finding.message) == (0, "the model (Net) raised ValueError: second; given x 1×3×32×32")


def test_the_later_call_of_a_shared_module_says_which_it_is() -> None:
    call = replace(layer("act", "Strange", tensor("x", 2)), nth=3)
    assert told(call, "no") == "act #3 (Strange) raised RuntimeError: no; given x 2"


def test_a_missing_input_of_the_model_is_told_in_options_of_the_command() -> None:
    message = "Net.forward() missing 1 required positional argument: 'mask'"
    (finding,) = find(trace_of(root("TypeError", message, raised_below=False), spec="net.py:Net"))
    assert finding.message.endswith("; give --input mask=SHAPE")


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
        assert told(layer("m", class_name, *operands, state=state, settings="eps="), message)
    for name in (
        "F.conv2d",
        "F.embedding",
        "F.scaled_dot_product_attention",
        "torch.bmm",
        "torch.cat",
        "+",
        "F.linear",
    ):
        assert told_of_op(name, message, *operands)
