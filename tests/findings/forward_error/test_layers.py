"""FT006 for the layers of images and others, on traces written by hand, letter for letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.trace import Call
from tests.helpers.crashes import (
    advised,
    conv,
    explained,
    layer,
    ran,
    tensor,
)


@pytest.mark.parametrize(
    ("call", "message", "says"),
    [
        (
            conv(1, 1, 32, 32),
            "Given groups=1, weight of size [6, 3, 5, 5], expected input[1, 1, 32, 32] to have 3 channels, but got 1"
            " channels instead",
            "c1 (Conv2d) expects 3 channels, got 1; given input 1×1×32×32, weight 6×3×5×5",
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
            "c1 (Conv2d) expects 3 channels, got 32; the last dimension has 3; given input 1×32×32×3, weight 6×3×5×5",
        ),
        (
            conv(8, 32, 32, channels=1, settings="1, 6, kernel_size=(5, 5), stride=(1, 1)"),
            "Given groups=1, weight of size [6, 1, 5, 5], expected input[1, 8, 32, 32] to have 1 channels, but got 8"
            " channels instead",
            "c1 (Conv2d) expects 1 channel, got 8 (3 dimensions are read as channels×height×width); given input "
            "8×32×32, weight 6×1×5×5",
        ),
        (
            conv(1, 1, 3, 32, 32),
            "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [1, 1, 3, 32, 32]",
            "c1 (Conv2d) expects 4 dimensions, batch×channels×height×width (or 3 without the batch), got 5: "
            "1×1×3×32×32; given input 1×1×3×32×32, weight 6×3×5×5",
        ),
        (
            conv(1, 3, 4, 4),
            "Calculated padded input size per channel: (4 x 4). Kernel size: (5 x 5). Kernel size can't be greater than"
            " actual input size",
            "c1 (Conv2d) has a kernel of 5×5, larger than its padded input of 4×4; given input 1×3×4×4, weight "
            "6×3×5×5",
        ),
        (
            layer("s2", "MaxPool2d", tensor("input", 1, 3, 1, 1), settings="kernel_size=2"),
            "Given input size: (3x1x1). Calculated output size: (3x0x0). Output size is too small",
            "s2 (MaxPool2d) would give 0×0 from 1×1: the input is smaller than its window; given input 1×3×1×1",
        ),
        (
            layer(
                "bn", "BatchNorm2d", tensor("input", 1, 3, 8, 8),
                state=(tensor("weight", 4), tensor("num_batches_tracked", dtype="int64")), settings="4, eps=1e-05",
            ),
            "running_mean should contain 3 elements not 4",
            "bn (BatchNorm2d) expects 4 channels in dimension 1, got 3; given input 1×3×8×8, weight 4",
        ),
        (
            layer("bn", "BatchNorm2d", tensor("input", 2, 4), state=(tensor("weight", 4),), settings="4, eps=1e-05"),
            "expected 4D input (got 2D input)",
            "bn (BatchNorm2d) expects a 4D input, got 2D: 2×4; given input 2×4, weight 4; BatchNorm1d is for flat "
            "features (not tried)",
        ),
        (
            layer("bn", "BatchNorm1d", tensor("input", 1, 4), state=(tensor("weight", 4),)),
            "Expected more than 1 value per channel when training, got input size torch.Size([1, 4])",
            "bn (BatchNorm1d) needs more than one value a channel in training, in eval mode one is enough; got 1×4; "
            "given input 1×4, weight 4",
        ),
        (
            layer("ln", "LayerNorm", tensor("input", 2, 8), state=(tensor("weight", 16),)),
            "Given normalized_shape=[16], expected input with shape [*, 16], but got input of size[2, 8]",
            "ln (LayerNorm) expects 16 in the last dimension, got 8; given input 2×8, weight 16",
        ),
        (
            layer("ln", "LayerNorm", tensor("input", 2, 16, 8), state=(tensor("weight", 16),)),
            "Given normalized_shape=[16], expected input with shape [*, 16], but got input of size[2, 16, 8]",
            "ln (LayerNorm) expects 16 in the last dimension, got 8; dimension 1 has 16; given input 2×16×8, weight "
            "16",
        ),
        (
            layer("gn", "GroupNorm", tensor("input", 2, 6, 4), state=(tensor("weight", 8),), settings="2, 8,"
            " eps=1e-05"),
            "Expected weight to be a vector of size equal to the number of channels in input, but got weight of shape"
            " [8]"
            " and input of shape [2, 6, 4]",
            "gn (GroupNorm) expects 8 channels in dimension 1, got 6; given input 2×6×4, weight 8",
        ),
        (
            layer("gn", "GroupNorm", tensor("input", 2, 6, 4)),
            "Expected number of channels in input to be divisible by num_groups, but got input of shape [2, 6, 4] and"
            " num_groups=4",
            "gn (GroupNorm) cannot divide 6 channels into 4 groups; given input 2×6×4",
        ),
        (
            layer("lstm", "LSTM", tensor("input", 3, 2, 5), state=(tensor("weight_ih_l0", 32, 4),)),
            "input.size(-1) must be equal to input_size. Expected 4, got 5",
            "lstm (LSTM) expects 4 features, got 5; given input 3×2×5, weight_ih_l0 32×4",
        ),
        (
            layer("gru", "GRU", tensor("input", 3, 2, 4), tensor("hx", 1, 2, 8)),
            "Expected hidden size (1, 3, 8), got [1, 2, 8]",
            "gru (GRU) expects hidden of 1×3×8 (layers×batch×features), got 1×2×8; its input is 3×2×4, "
            "batch_first=False; given input 3×2×4, hx 1×2×8",
        ),
        (
            layer("mha", "MultiheadAttention", tensor("query", 4, 3, 8), tensor("attn_mask", 3, 3)),
            "The shape of the 2D attn_mask is torch.Size([3, 3]), but should be (4, 4).",
            "mha (MultiheadAttention) expects attn_mask 4×4 (queries×keys), got 3×3; given query 4×3×8, attn_mask 3×3",
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
            "act (PReLU) expects 4 channels in dimension 1, got 3; given input 1×3×4, weight 4",
        ),
    ],
    ids=lambda value: value.class_name if isinstance(value, Call) else "",
)  # fmt: skip
def test_the_message_about_a_layer_has_its_own_numbers(call: Call, message: str, says: str) -> None:
    assert explained(call, message) == says


def test_the_convolution_that_chose_the_channels_is_found_behind_pooling() -> None:
    before = (
        ran(2, "c0", "Conv2d", (1, 3, 9, 9), (1, 4, 8, 8)),
        ran(3, "pool", "MaxPool2d", (1, 4, 8, 8), (1, 4, 4, 4), source=2),
    )
    message = (
        "Given groups=1, weight of size [6, 3, 5, 5], expected input[1, 4, 4, 4] to have 3 channels, but got 4 channels"
    )
    call = replace(conv(1, 4, 4, 4), inputs=(tensor("input", 1, 4, 4, 4, source=3),))
    assert advised(call, message, *before) == ["set in_channels=4 in c1", "set out_channels=3 in c0"]


@pytest.mark.parametrize(
    ("call", "message", "advice"),
    [
        (
            conv(1, 32, 32, 3),
            "Given groups=1, weight of size [6, 3, 5, 5], expected input[1, 32, 32, 3] to have 3 channels, but got 32"
            " channels instead",
            "pass input.permute(0, 3, 1, 2) to c1, which is 1×3×32×32",
        ),
        (
            conv(1, 1, 3, 32, 32),
            "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [1, 1, 3, 32, 32]",
            "pass input.squeeze(1) to c1",
        ),
        (
            layer("bn", "BatchNorm1d", tensor("input", 2, 5, 16), state=(tensor("weight", 16),), settings="16, eps=1"),
            "running_mean should contain 5 elements not 16",
            "pass input.transpose(1, 2) to bn, and take .transpose(1, 2) of its result",
        ),
        (
            layer("ln", "LayerNorm", tensor("input", 2, 16, 8), state=(tensor("weight", 16),)),
            "Given normalized_shape=[16], expected input with shape [*, 16], but got input of size[2, 16, 8]",
            "pass input.permute(0, 2, 1) to ln, and take .permute(0, 2, 1) of its result",
        ),
        (
            layer("gn", "GroupNorm", tensor("input", 2, 6, 4)),
            "Expected number of channels in input to be divisible by num_groups, but got input of shape [2, 6, 4] and"
            " num_groups=4",
            "set num_groups=3 in gn",
        ),
        (
            layer("gru", "GRU", tensor("input", 3, 2, 4), tensor("hx", 1, 3, 8)),
            "Expected hidden size (1, 2, 8), got [1, 3, 8]",
            "set batch_first=True in gru",
        ),
    ],
    ids=lambda value: value.class_name if isinstance(value, Call) else "",
)  # fmt: skip
def test_what_changes_the_least_is_to_be_tried_first(call: Call, message: str, advice: str) -> None:
    assert advised(call, message)[0] == advice


def test_an_instance_norm_of_one_position_says_so() -> None:
    message = "Expected more than 1 spatial element when training, got input size torch.Size([2, 3, 1, 1])"
    norm = layer("n", "InstanceNorm2d", tensor("input", 2, 3, 1, 1))
    assert explained(norm, message).startswith("n (InstanceNorm2d) needs more than one position a channel, got 2×3×1×1")


def test_a_half_of_an_odd_number_has_its_maker_built_otherwise() -> None:
    message = "Halving dimension must be even, but dimension 1 is size 15"
    maker = ran(1, "p", "Linear", (2, 8), (2, 15))
    gate = layer("g", "GLU", tensor("input", 2, 15, source=1))
    assert explained(gate, message, maker).startswith("g (GLU) expects an even number to halve in dimension 1, got 15")
    assert advised(gate, message, maker) == ["set out_features=16 in p", "set out_features=14 in p"]


def test_channels_that_a_layer_chose_are_not_looked_for_in_the_last_dimension() -> None:
    before = ran(4, "a", "Conv2d", (1, 3, 8, 8), (1, 6, 8, 8))
    norm = layer("n", "GroupNorm", tensor("input", 1, 6, 8, 8, source=4), state=(tensor("weight", 8),))
    message = (
        "Expected weight to be a vector of size equal to the number of channels in input, but got weight of shape [8]"
        " and input of shape [1, 6, 8, 8]"
    )
    assert explained(norm, message, before) == (
        "n (GroupNorm) expects 8 channels in dimension 1, got 6; given input 1×6×8×8 from a, weight 8"
    )
    assert advised(norm, message, before) == ["set out_channels=8 in a"]
    square = conv(1, 6, 8, 8, channels=8)
    square = replace(square, inputs=(tensor("input", 1, 6, 8, 8, source=4),))
    message = "Given groups=1, weight of size [6, 8, 5, 5], expected input[1, 6, 8, 8] to have 8 channels, but got 6"
    assert advised(square, f"{message} channels instead", before) == [
        "set in_channels=6 in c1",
        "set out_channels=8 in a",
    ]
