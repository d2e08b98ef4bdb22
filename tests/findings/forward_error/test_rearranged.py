"""FT006 for the messages of einops, on traces written by hand."""

from __future__ import annotations

from tests.helpers.crashes import advised, explained, layer, ran, tensor

MESSAGE = (
    ' Error while processing rearrange-reduction pattern "{}".\n Input tensor shape: torch.Size({}). Additional info:'
    " {}.\n Shape mismatch, {}"
)


def test_a_dimension_that_is_not_the_product_of_its_parts_is_named_with_what_made_it() -> None:
    message = MESSAGE.format("b (x y) d -> b x y d", "[2, 900, 8]", "{'x': 26, 'y': 26}", "900 != 676")
    call = layer("pos", "Positions", tensor("q", 2, 900, 8, source=1))
    embedding = ran(1, "embed", "Linear", (2, 900, 3), (2, 900, 8))
    assert explained(call, message, embedding, type="EinopsError") == (
        "pos (Positions) cannot rearrange 2×900×8: 900 is to be taken apart into 676; it is from embed;"
        " given q 2×900×8 from embed"
    )


def test_the_layer_that_chose_a_size_which_does_not_divide_can_be_built_otherwise() -> None:
    message = MESSAGE.format("b (h d) -> b h d", "[2, 10]", "{'h': 4}", "can't divide axis of length 10 in chunks of 4")
    call = layer("split", "Split", tensor("x", 2, 3))
    projection = ran(1, "fc", "Linear", (2, 3), (2, 10))
    assert explained(call, message, projection, type="EinopsError") == (
        "split (Split) cannot rearrange 2×10: 10 is no multiple of 4 (2·4 = 8); it is from fc; given x 2×3"
    )
    assert advised(call, message, projection, type="EinopsError") == [
        "set out_features=12 in fc",
        "set out_features=8 in fc",
    ]
