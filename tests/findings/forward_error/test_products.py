"""FT006 for products of matrices, on traces written by hand: the inner sizes, and where they come from."""

from __future__ import annotations

from fwdtrace.trace import Value
from tests.helpers.crashes import (
    PRODUCT,
    explained,
    explained_op,
    layer,
    linear,
    ran,
    tensor,
)


def test_the_flattening_that_gave_the_number_is_found_above() -> None:
    flatten = ran(3, "flatten", "Flatten", (1, 16, 5, 5), (1, 400))
    dropout = ran(4, "dropout", "Dropout", (1, 400), (1, 400))
    assert explained(linear(1, 400, features=256), PRODUCT.format("1x400", "256x120"), flatten, dropout) == (
        "f5 (Linear) expects 256 features, got 400 = 16×5×5; given input 1×400, weight 120×256, bias 120;"
        " set in_features=400 in f5, or let what comes before give 256 = 16×4×4"
    )


def test_a_number_whose_origin_is_not_in_the_trace_gets_no_origin() -> None:
    assert explained(linear(1, 400, features=256), PRODUCT.format("1x400", "256x120")) == (
        "f5 (Linear) expects 256 features, got 400; given input 1×400, weight 120×256, bias 120; set in_features=400"
        " in f5"
    )


def test_the_layer_that_chose_the_number_is_found_behind_activations() -> None:
    before = ran(2, "f4", "Linear", (1, 7), (1, 400)), ran(3, "act", "ReLU", (1, 400), (1, 400))
    assert explained(linear(1, 400, features=256), PRODUCT.format("1x400", "256x120"), *before).endswith(
        "; set in_features=400 in f5, or out_features=256 in f4"
    )


def test_an_input_that_was_not_flattened_is_to_be_flattened() -> None:
    assert explained(linear(1, 16, 5, 5, features=400), PRODUCT.format("80x5", "400x120")) == (
        "f5 (Linear) expects 400 features in the last dimension, got 5; 400 = 16×5×5; given input 1×16×5×5, weight"
        " 120×400,"
        " bias 120; flatten its input first, as in torch.flatten(x, 1)"
    )


def test_features_in_another_dimension_are_seen() -> None:
    assert explained(linear(2, 400, 7, features=400), PRODUCT.format("800x7", "400x120")).endswith(
        "; set in_features=7 in f5, or if dimension 1 holds the features, transpose it to the last"
    )


def test_a_product_with_another_weight_names_that_weight() -> None:
    message = PRODUCT.format("2x4", "5x4")
    state = (tensor("w", 5, 4), tensor("weight", 3, 7))
    assert explained(layer("leaf", "Leaf", tensor("x", 2, 4), state=state), message) == (
        "leaf (Leaf) cannot multiply 2×4 by 5×4, the shape of w: the inner sizes are 4 and 5; given x 2×4, w 5×4,"
        " weight 3×7"
    )


def test_an_einsum_names_the_index_and_its_equation() -> None:
    message = "einsum(): subscript j has size 5 for operand 1 which does not broadcast with previously seen size 4"
    inputs = Value("0", "'ij,jk->ik'"), tensor("1", 3, 4), tensor("2", 5, 6)
    assert explained_op("torch.einsum", message, *inputs) == (
        "torch.einsum in the model (Net) gives the index j two sizes, 4 and 5 (operand 2, 5×6), in 'ij,jk->ik';"
        " given 3×4, 5×6"
    )
