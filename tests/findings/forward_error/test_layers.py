"""FT006 on layers: each kind of error on a hand-written trace, letter for letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.trace import Call, Stats
from tests.helpers.crashes import PRODUCT, conv, layer, linear, ran, tensor, told


def test_the_flattening_that_gave_the_number_is_found_above() -> None:
    flatten = ran(3, "flatten", "Flatten", (1, 16, 5, 5), (1, 400))
    dropout = ran(4, "dropout", "Dropout", (1, 400), (1, 400))
    assert told(linear(1, 400, features=256), PRODUCT.format("1x400", "256x120"), flatten, dropout) == (
        "f5 (Linear) expects 256 features, got 400 = 16×5×5; given input 1×400, weight 120×256, bias 120;"
        " set in_features=400 in f5, or let what comes before give 256 = 16×4×4"
    )


def test_a_number_whose_origin_is_not_in_the_trace_gets_no_origin() -> None:
    assert told(linear(1, 400, features=256), PRODUCT.format("1x400", "256x120")) == (
        "f5 (Linear) expects 256 features, got 400; given input 1×400, weight 120×256, bias 120; set in_features=400"
        " in f5"
    )


def test_the_layer_that_chose_the_number_is_found_behind_activations() -> None:
    before = ran(2, "f4", "Linear", (1, 7), (1, 400)), ran(3, "act", "ReLU", (1, 400), (1, 400))
    assert told(linear(1, 400, features=256), PRODUCT.format("1x400", "256x120"), *before).endswith(
        "; set in_features=400 in f5, or out_features=256 in f4"
    )


def test_an_input_that_was_not_flattened_is_told_from_one_of_the_wrong_size() -> None:
    assert told(linear(1, 16, 5, 5, features=400), PRODUCT.format("80x5", "400x120")) == (
        "f5 (Linear) expects 400 features in the last dimension, got 5; 400 = 16×5×5; given input 1×16×5×5, weight"
        " 120×400,"
        " bias 120; flatten its input first, as in torch.flatten(x, 1)"
    )


def test_features_in_another_dimension_are_seen() -> None:
    assert told(linear(2, 400, 7, features=400), PRODUCT.format("800x7", "400x120")).endswith(
        "; set in_features=7 in f5, or if dimension 1 holds the features, transpose it to the last"
    )


def test_a_product_that_is_not_the_layers_own_is_not_laid_at_its_door() -> None:
    message = PRODUCT.format("2x4", "5x4")
    state = (tensor("w", 5, 4), tensor("weight", 3, 7))
    assert told(layer("leaf", "Leaf", tensor("x", 2, 4), state=state), message) == (
        "leaf (Leaf) cannot multiply 2×4 by 5×4, the shape of w: the inner sizes are 4 and 5; given x 2×4, w 5×4,"
        " weight 3×7"
    )


@pytest.mark.parametrize(
    ("call", "message", "says"),
    [
        (
            conv(1, 1, 32, 32),
            "Given groups=1, weight of size [6, 3, 5, 5], expected input[1, 1, 32, 32] to have 3 channels, but got 1"
            " channels instead",
            "c1 (Conv2d) expects 3 channels, got 1; given input 1×1×32×32, weight 6×3×5×5; set in_channels=1 in c1",
        ),
        (
            conv(1, 3, 32, 32, channels=2, settings="4, 6, kernel_size=(5, 5), stride=(1, 1), groups=2"),
            "Given groups=2, weight of size [6, 2, 5, 5], expected input[1, 3, 32, 32] to have 4 channels, but got 3"
            " channels instead",
            "c1 (Conv2d) expects 4 channels, got 3; given input 1×3×32×32, weight 6×2×5×5",
        ),
        (
            conv(1, 32, 32, 3),
            "Given groups=1, weight of size [6, 3, 5, 5], expected input[1, 32, 32, 3] to have 3 channels, but got 32"
            " channels instead",
            "c1 (Conv2d) expects 3 channels, got 32; given input 1×32×32×3, weight 6×3×5×5;"
            " if the channels are last, x.permute(0, 3, 1, 2) makes it 1×3×32×32",
        ),
        (
            conv(8, 32, 32, channels=1, settings="1, 6, kernel_size=(5, 5), stride=(1, 1)"),
            "Given groups=1, weight of size [6, 1, 5, 5], expected input[1, 8, 32, 32] to have 1 channels, but got 8"
            " channels instead",
            "c1 (Conv2d) expects 1 channel, got 8 (3 dimensions are read as channels×height×width); given input"
            " 8×32×32,"
            " weight 6×1×5×5; if the first dimension is the batch, x.unsqueeze(1) adds the channel",
        ),
        (
            conv(1, 1, 3, 32, 32),
            "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [1, 1, 3, 32, 32]",
            "c1 (Conv2d) expects 4 dimensions, batch×channels×height×width (or 3 without the batch), got 5:"
            " 1×1×3×32×32;"
            " given input 1×1×3×32×32, weight 6×3×5×5; x.squeeze(0) drops the first",
        ),
        (
            conv(1, 3, 4, 4),
            "Calculated padded input size per channel: (4 x 4). Kernel size: (5 x 5). Kernel size can't be greater than"
            " actual input size",
            "c1 (Conv2d) has a kernel of 5×5, larger than its padded input of 4×4; given input 1×3×4×4, weight 6×3×5×5;"
            " use a larger input, a smaller kernel_size or more padding, or shrink less before it",
        ),
        (
            layer("s2", "MaxPool2d", tensor("input", 1, 3, 1, 1), settings="kernel_size=2"),
            "Given input size: (3x1x1). Calculated output size: (3x0x0). Output size is too small",
            "s2 (MaxPool2d) would give 0×0 from 1×1: the input is smaller than its window; given input 1×3×1×1;"
            " use a larger input, a smaller kernel_size, or shrink less before it",
        ),
        (
            layer(
                "bn", "BatchNorm2d", tensor("input", 1, 3, 8, 8),
                state=(tensor("weight", 4), tensor("num_batches_tracked", dtype="int64")), settings="4, eps=1e-05",
            ),
            "running_mean should contain 3 elements not 4",
            "bn (BatchNorm2d) expects 4 channels in dimension 1, got 3; given input 1×3×8×8, weight 4;"
            " set num_features=3 in bn",
        ),
        (
            layer("bn", "BatchNorm2d", tensor("input", 2, 4), state=(tensor("weight", 4),), settings="4, eps=1e-05"),
            "expected 4D input (got 2D input)",
            "bn (BatchNorm2d) expects a 4D input, got 2D: 2×4; given input 2×4, weight 4; BatchNorm1d is for flat"
            " features",
        ),
        (
            layer("bn", "BatchNorm1d", tensor("input", 1, 4), state=(tensor("weight", 4),)),
            "Expected more than 1 value per channel when training, got input size torch.Size([1, 4])",
            "bn (BatchNorm1d) needs more than one value a channel in training, got 1×4; given input 1×4, weight 4;"
            " use a batch of 2 or more, or eval mode",
        ),
        (
            layer("ln", "LayerNorm", tensor("input", 2, 8), state=(tensor("weight", 16),)),
            "Given normalized_shape=[16], expected input with shape [*, 16], but got input of size[2, 8]",
            "ln (LayerNorm) expects 16 in the last dimension, got 8; given input 2×8, weight 16;"
            " set normalized_shape=8 in ln",
        ),
        (
            layer("ln", "LayerNorm", tensor("input", 2, 16, 8), state=(tensor("weight", 16),)),
            "Given normalized_shape=[16], expected input with shape [*, 16], but got input of size[2, 16, 8]",
            "ln (LayerNorm) expects 16 in the last dimension, got 8; given input 2×16×8, weight 16;"
            " if dimension 1 is to be normalised, transpose it to the last",
        ),
        (
            layer("gn", "GroupNorm", tensor("input", 2, 6, 4), state=(tensor("weight", 8),), settings="2, 8,"
            " eps=1e-05"),
            "Expected weight to be a vector of size equal to the number of channels in input, but got weight of shape"
            " [8]"
            " and input of shape [2, 6, 4]",
            "gn (GroupNorm) expects 8 channels in dimension 1, got 6; given input 2×6×4, weight 8;"
            " set num_channels=6 in gn",
        ),
        (
            layer("gn", "GroupNorm", tensor("input", 2, 6, 4)),
            "Expected number of channels in input to be divisible by num_groups, but got input of shape [2, 6, 4] and"
            " num_groups=4",
            "gn (GroupNorm) cannot divide 6 channels into 4 groups; given input 2×6×4; use a num_groups that divides"
            " them",
        ),
        (
            layer("lstm", "LSTM", tensor("input", 3, 2, 5), state=(tensor("weight_ih_l0", 32, 4),)),
            "input.size(-1) must be equal to input_size. Expected 4, got 5",
            "lstm (LSTM) expects 4 features, got 5; given input 3×2×5, weight_ih_l0 32×4; set input_size=5 in lstm",
        ),
        (
            layer("gru", "GRU", tensor("input", 3, 2, 4), tensor("hx", 1, 2, 8)),
            "Expected hidden size (1, 3, 8), got [1, 2, 8]",
            "gru (GRU) expects hidden of 1×3×8 (layers×batch×features), got 1×2×8; given input 3×2×4, hx 1×2×8;"
            " if dimension 1 of the input is the batch, use batch_first=False",
        ),
        (
            layer("mha", "MultiheadAttention", tensor("query", 4, 3, 8), tensor("attn_mask", 3, 3)),
            "The shape of the 2D attn_mask is torch.Size([3, 3]), but should be (4, 4).",
            "mha (MultiheadAttention) expects attn_mask 4×4 (queries×keys), got 3×3; given query 4×3×8, attn_mask 3×3;"
            " if dimension 1 of the query is the sequence, use batch_first=True",
        ),
        (
            layer("layer", "TransformerEncoderLayer", tensor("src", 2, 3, 8), tensor("src_mask", 4, 4)),
            "shape '[1, 1, 3, 3]' is invalid for input of size 16",
            "layer (TransformerEncoderLayer) expects src_mask 3×3 (queries×keys), got 4×4; given src 2×3×8, src_mask"
            " 4×4",
        ),
        (
            layer("act", "PReLU", tensor("input", 1, 3, 4), state=(tensor("weight", 4),)),
            "Mismatch of parameter numbers and input channel size. Found parameter numbers = 4 and channel size = 3.",
            "act (PReLU) expects 4 channels in dimension 1, got 3; given input 1×3×4, weight 4; set num_parameters=3"
            " in act",
        ),
    ],
    ids=lambda value: value.class_name if isinstance(value, Call) else "",
)  # fmt: skip
def test_a_layer_is_told_of_by_its_own_numbers(call: Call, message: str, says: str) -> None:
    assert told(call, message) == says


def test_the_convolution_that_chose_the_channels_is_found_behind_pooling() -> None:
    before = ran(2, "c0", "Conv2d", (1, 3, 9, 9), (1, 4, 8, 8)), ran(3, "pool", "MaxPool2d", (1, 4, 8, 8), (1, 4, 4, 4))
    message = (
        "Given groups=1, weight of size [6, 3, 5, 5], expected input[1, 4, 4, 4] to have 3 channels, but got 4 channels"
    )
    assert told(conv(1, 4, 4, 4), message, *before).endswith("; set in_channels=4 in c1, or out_channels=3 in c0")


def test_an_attention_names_its_embed_dim_and_the_layer_that_gave_another() -> None:
    call = layer("mha", "MultiheadAttention", tensor("query", 3, 2, 6), state=(tensor("in_proj_weight", 24, 8),))
    embedding = ran(1, "emb", "Embedding", (3, 2), (3, 2, 6))
    assert told(call, "was expecting embedding dimension of 8, but got 6", embedding, type="AssertionError") == (
        "mha (MultiheadAttention) expects 8 features, got 6; given query 3×2×6, in_proj_weight 24×8;"
        " set embed_dim=6 in mha, or embedding_dim=8 in emb"
    )


def test_an_index_outside_an_embedding_is_told_with_the_rows_and_the_index_if_it_was_measured() -> None:
    ids = tensor("input", 1, 2, dtype="int64")
    measured = replace(ids, stats=Stats(6.0, 6.0, 1.0, 12.0, 0, 0, 0))
    unknown, known = (
        told(
            layer("emb", "Embedding", leaf, state=(tensor("weight", 10, 4),)),
            "index out of range in self",
            type="IndexError",
        )
        for leaf in (ids, measured)
    )
    assert unknown == (
        "emb (Embedding) has 10 rows, so indices run from 0 to 9; got one outside; given input 1×2 int64, weight 10×4;"
        " set num_embeddings in emb above the largest index, or correct the indices"
    )
    assert "got 12;" in known


def test_indices_that_are_floats_are_told_to_be_converted() -> None:
    call = layer("emb", "Embedding", tensor("input", 2, 3), state=(tensor("weight", 10, 4),))
    message = (
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got"
        " torch.FloatTensor instead (while checking arguments for embedding)"
    )
    assert told(call, message) == (
        "emb (Embedding) expects indices of int64 or int32, got float32; given input 2×3, weight 10×4;"
        " convert the indices: x.long()"
    )
