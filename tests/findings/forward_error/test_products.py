"""FT006 for products of matrices, on traces written by hand: the inner sizes, and where they come from."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.findings import find
from fwdtrace.trace import Call, CallError, Op, Site, Value
from tests.helpers.crashes import (
    PRODUCT,
    advised,
    explained,
    explained_op,
    layer,
    linear,
    ran,
    root,
    tensor,
    texts_of,
    trace_of,
)

TOO_WIDE = PRODUCT.format("1x400", "256x120")


def f5(*shape: int, features: int, source: int) -> Call:
    return replace(linear(*shape, features=features), inputs=(tensor("input", *shape, source=source),))


def test_the_flattening_that_gave_the_number_is_found_above() -> None:
    conv = ran(2, "conv", "Conv2d", (1, 3, 9, 9), (1, 16, 5, 5))
    flatten = ran(3, "flatten", "Flatten", (1, 16, 5, 5), (1, 400), source=2)
    dropout = ran(4, "dropout", "Dropout", (1, 400), (1, 400), source=3)
    call = f5(1, 400, features=256, source=4)
    assert explained(call, TOO_WIDE, conv, flatten, dropout) == (
        "f5 (Linear) expects 256 features, got 400 = 16×5×5 of conv; given input 1×400 from dropout, weight 120×256,"
        " bias 120"
    )
    assert advised(call, TOO_WIDE, conv, flatten, dropout) == ["set in_features=400 in f5"]


def test_a_number_whose_origin_is_not_in_the_trace_gets_no_origin() -> None:
    assert explained(linear(1, 400, features=256), TOO_WIDE) == (
        "f5 (Linear) expects 256 features, got 400; given input 1×400, weight 120×256, bias 120"
    )


def test_the_layer_that_chose_the_number_is_found_behind_activations() -> None:
    before = ran(2, "f4", "Linear", (1, 7), (1, 400)), ran(3, "act", "ReLU", (1, 400), (1, 400), source=2)
    assert advised(f5(1, 400, features=256, source=3), TOO_WIDE, *before) == [
        "set in_features=400 in f5",
        "set out_features=256 in f4",
    ]


def test_another_call_that_gave_the_same_shape_is_not_taken_for_the_one_that_did() -> None:
    before = ran(2, "f4", "Linear", (1, 7), (1, 400)), ran(3, "f3", "Linear", (1, 9), (1, 400))
    assert advised(f5(1, 400, features=256, source=2), TOO_WIDE, *before)[1] == "set out_features=256 in f4"


def test_a_batch_that_was_flattened_too_is_to_be_left_out() -> None:
    site = Site("net.py", 30, "Net.forward", "x = torch.flatten(x)")
    flatten = Op(3, 0, "torch.flatten", (tensor("0", 2, 16, 5, 5),), (tensor("", 800, source=3),), site)
    failed = replace(
        f5(800, features=400, source=3), error=CallError("RuntimeError", PRODUCT.format("1x800", "400x120"))
    )
    trace = trace_of(
        root("RuntimeError", failed.error.message if failed.error else "", raised_below=True), failed, ops=(flatten,)
    )
    assert texts_of(trace)[0] == "call torch.flatten in line 30 with start_dim=1"


def test_an_input_that_was_not_flattened_is_to_be_flattened() -> None:
    call, message = linear(1, 16, 5, 5, features=400), PRODUCT.format("80x5", "400x120")
    assert explained(call, message) == (
        "f5 (Linear) expects 400 features in the last dimension, got 5; 400 = 16×5×5; given input 1×16×5×5,"
        " weight 120×400, bias 120"
    )
    assert advised(call, message)[0] == "pass input.flatten(1) to f5"


def test_features_in_another_dimension_are_seen() -> None:
    call, message = linear(2, 400, 7, features=400), PRODUCT.format("800x7", "400x120")
    assert "expects 400 features, got 7; dimension 1 has 400" in explained(call, message)
    assert advised(call, message) == [
        "pass input.transpose(1, 2) to f5",
        "pass input.transpose(1, 2) to f5, and take .transpose(1, 2) of its result",
    ]


def test_a_product_with_another_weight_names_that_weight() -> None:
    message = PRODUCT.format("2x4", "5x4")
    state = (tensor("w", 5, 4), tensor("weight", 3, 7))
    assert explained(layer("leaf", "Leaf", tensor("x", 2, 4), state=state), message) == (
        "leaf (Leaf) cannot multiply 2×4 by 5×4, the shape of w: the inner sizes are 4 and 5; x has 4; given x 2×4,"
        " w 5×4, weight 3×7"
    )
    assert advised(layer("leaf", "Leaf", tensor("x", 2, 4), state=state), message) == ["make the parameter leaf.w 4×4"]


def test_an_einsum_names_the_index_and_its_equation() -> None:
    message = "einsum(): subscript j has size 5 for operand 1 which does not broadcast with previously seen size 4"
    inputs = Value("0", "'ij,jk->ik'"), tensor("1", 3, 4), tensor("2", 5, 6)
    assert explained_op("torch.einsum", message, *inputs) == (
        "torch.einsum in the model (Net) gives the index j two sizes, 4 and 5 (operand 2, 5×6), in 'ij,jk->ik';"
        " given 3×4, 5×6"
    )


def test_what_was_only_turned_is_said_to_be_of_the_layer_that_gave_it() -> None:
    message = PRODUCT.format("7x64", "48x7")
    keys = ran(3, "k", "Linear", (7, 32), (7, 48))
    turned = Op(4, 0, "Tensor.t", (tensor("0", 7, 48, source=3),), (tensor("", 48, 7, source=4),))
    failed = Op(
        10, 0, "@", (tensor("0", 7, 64), tensor("1", 48, 7, source=4)), error=CallError("RuntimeError", message)
    )
    model = root("RuntimeError", message, raised_below=False)
    assert [finding.message for finding in find(trace_of(model, keys, ops=(turned, failed)))] == [
        "@ in the model (Net) cannot multiply 7×64 by 48×7: the inner sizes are 64 and 48; given 7×64, 48×7 from"
        " Tensor.t of k"
    ]
    assert texts_of(trace_of(model, keys, ops=(turned, failed))) == ["set out_features=64 in k"]
