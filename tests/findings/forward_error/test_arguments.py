"""FT006 for wrong arguments, on traces written by hand: dtypes, devices, missing and unexpected arguments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import Call, CallError, Leaf, Source, Uncalled, Value
from tests.helpers.crashes import (
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


def test_dtypes_that_differ_have_two_fixes() -> None:
    call = linear(2, 4, features=4, out=4, dtype="float16")
    message = "mat1 and mat2 must have the same dtype, but got Float and Half"
    assert explained(call, message) == (
        "f5 (Linear) expects float16, as its parameters are, got float32; given input 2×4 float32, weight 4×4 float16,"
        " bias 4 float16"
    )
    assert advised(call, message) == [
        "pass input.to(torch.float16) to f5",
        "convert all of the module, f5.to(torch.float32)",
    ]


def test_an_argument_of_the_wrong_dtype_is_to_be_given_in_another() -> None:
    leaf = tensor("input", 2, 4, dtype="float64", source=Source(argument="x"))
    call = replace(linear(2, 4, features=4, out=4), inputs=(leaf,))
    message = "mat1 and mat2 must have the same dtype, but got Double and Float"
    assert advised(call, message)[0] == "give the model x.to(torch.float32)"


def test_integers_are_to_be_converted_and_never_the_model() -> None:
    call = replace(linear(2, 4, features=4, out=4), inputs=(tensor("input", 2, 4, dtype="int64"),))
    assert explained(call, "mat1 and mat2 must have the same dtype, but got Long and Float") == (
        "f5 (Linear) expects float32, as its parameters are, got int64; given input 2×4 int64, weight 4×4, bias 4"
    )
    message = "mat1 and mat2 must have the same dtype, but got Long and Float"
    assert advised(call, message) == ["pass input.to(torch.float32) to f5"]


def test_indices_stay_integers_where_the_numbers_have_two_dtypes() -> None:
    message = "index_add_(): self (Float) and source (Double) must have the same scalar type"
    inputs = tensor("", 4, 2), tensor("", 3, dtype="int64"), tensor("", 3, 2, dtype="float64")
    assert " needs one dtype, got float32 and float64; " in explained_op("Tensor.index_add", message, *inputs)
    assert advised_op("Tensor.index_add", message, *inputs) == [
        "apply .to(torch.float64) to operand 1 of Tensor.index_add in line 31",
        "apply .to(torch.float32) to operand 3 of Tensor.index_add in line 31",
    ]


def test_a_dtype_that_is_nowhere_in_the_trace_is_not_explained() -> None:
    call = layer("m", "Mixes", tensor("ids", 2, dtype="int64"), state=(tensor("w", 4, 4),))
    message = "mat1 and mat2 must have the same dtype, but got Half and Float"
    assert explained(call, message) == f"m (Mixes) raised RuntimeError: {message}; given ids 2 int64, w 4×4"


def test_parameters_on_meta_are_said_to_have_no_data() -> None:
    state = (tensor("weight", 4, 4, device="meta"),)
    call = layer("f5", "Linear", tensor("input", 2, 4), state=state)
    assert explained(call, "Tensor on device meta is not on the expected device cpu!") == (
        "f5 (Linear) needs its tensors on one device, got cpu and meta; given input 2×4 on cpu, weight 4×4 on meta;"
        " f5 has no data on meta: materialise it, .to_empty(device=…), and load its weights"
        " (not tried)"
    )


def test_an_input_on_another_device_has_two_fixes() -> None:
    call = layer("f5", "Linear", tensor("input", 2, 4), state=(tensor("weight", 4, 4, device="cuda:0"),))
    message = (
        "Expected all tensors to be on the same device, but got mat1 is on cpu, different from other tensors on cuda:0"
    )
    assert explained(call, message).endswith(
        "; move the input, x.to('cuda:0'), or the model, model.to('cpu') (not tried)"
    )


@pytest.mark.parametrize(
    ("message", "inputs", "says"),
    [
        (
            "Decoder.forward() missing 1 required positional argument: 'memory'", (tensor("x", 2, 4),),
            "decoder (Decoder) was called without its argument memory; given x 2×4; pass memory (not tried)",
        ),
        (
            "Decoder.forward() got an unexpected keyword argument 'mask'", (tensor("x", 2, 4), Value("mask", "None")),
            "decoder (Decoder) has no argument mask (given mask=None); given x 2×4; drop mask, or add it to forward"
            " (not tried)",
        ),
        (
            "Decoder.forward() takes 3 positional arguments but 4 were given", (tensor("x", 2, 4),),
            "decoder (Decoder) takes 2 positional arguments, got 3; given x 2×4",
        ),
        (
            "Decoder.forward() takes from 2 to 3 positional arguments but 5 were given", (tensor("x", 2, 4),),
            "decoder (Decoder) takes from 1 to 2 positional arguments, got 4; given x 2×4",
        ),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_forward_are_named(message: str, inputs: tuple[Leaf, ...], says: str) -> None:
    assert explained(layer("decoder", "Decoder", *inputs), message, type="TypeError") == says


def test_arguments_that_do_not_fit_something_called_in_forward_are_not_the_calls_own() -> None:
    message = "Head.forward() missing 1 required positional argument: 'memory'"
    inner = replace(ran(11, "decoder.norm", "LayerNorm", (2,), (2,)), parent=10)
    failed = replace(layer("decoder", "Decoder", tensor("x", 2)), error=CallError("TypeError", message))
    (finding,) = find(trace_of(root("TypeError", message, raised_below=True), failed, inner))
    assert finding.message == f"decoder (Decoder) raised TypeError: {message}; given x 2"


def test_a_list_of_modules_that_is_called_is_to_be_looped_over() -> None:
    call = layer("blocks", "ModuleList", tensor("input[0]", 2, 4))
    message = 'Module [ModuleList] is missing the required "forward" function'
    assert explained(call, message, type="NotImplementedError") == (
        "blocks (ModuleList) has no forward: it only holds modules; given input[0] 2×4;"
        " loop over its modules, or make it an nn.Sequential (not tried)"
    )


def test_a_tuple_in_place_of_a_tensor_names_the_call_that_returned_it() -> None:
    shapes = {"input[0]": (3, 2, 8), "input[1][0]": (1, 2, 8), "input[1][1]": (1, 2, 8)}
    parts = tuple(tensor(name, *shape, source=2) for name, shape in shapes.items())
    call = layer("f5", "Linear", *parts, state=(tensor("weight", 4, 8),))
    lstm = replace(ran(2, "lstm", "LSTM", (3, 2, 4), (3,)), outputs=tuple(replace(each, name="") for each in parts))
    message = "linear(): argument 'input' (position 1) must be Tensor, not tuple"
    assert explained(call, message, lstm, type="TypeError") == (
        "f5 (Linear) expects a tensor, got a tuple, as lstm (LSTM) returned; input[0] in it is 3×2×8; given input[0]"
        " 3×2×8 from lstm, input[1][0] 1×2×8 from lstm, input[1][1] 1×2×8 from lstm, weight 4×8"
    )
    assert advised(call, message, lstm, type="TypeError") == ["pass input[0] to f5"]


def test_a_missing_input_of_the_model_is_named_as_an_option_of_the_command() -> None:
    message = "Net.forward() missing 1 required positional argument: 'mask'"
    (finding,) = find(trace_of(root("TypeError", message, raised_below=False), spec="net.py:Net"))
    assert finding.message.endswith("; give --input mask=SHAPE (not tried)")


@pytest.mark.parametrize(("path", "part"), [("", "head"), ("net", "net.head")])
def test_a_misspelt_part_is_told_with_the_nearest_name(path: str, part: str) -> None:
    error = CallError("AttributeError", "'Net' object has no attribute 'haed'")
    call = Call(0, None, 0, path, "Net", 1, "__call__", inputs=(tensor("x", 2),), error=error)
    for uncalled, says in [(part, "has no attribute haed; the nearest name of its parts is head"), ("body", "raised")]:
        (finding, *_) = find(replace(trace_of(call), uncalled=(Uncalled(uncalled, "Linear", 6),)))
        assert finding.message.partition(" (Net) ")[2].startswith(says)


def test_the_call_before_that_returned_none_is_named() -> None:
    message = "conv2d() received an invalid combination of arguments - got (NoneType, Parameter, Parameter)"
    block = Call(4, 0, 1, "block", "Block", 1, "__call__", outputs=(Value("", "None"),))
    conv = layer("conv", "Conv2d", Value("input", "None"))
    assert explained(conv, message, block, type="TypeError") == (
        "conv (Conv2d) expects a tensor, got None; block (Block), which ran before it, returned None"
    )
