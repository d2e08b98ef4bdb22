"""FT006 on hand-written traces: what is said of each kind of error, letter for letter, and of what it is silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import (
    Call,
    CallError,
    Finding,
    Leaf,
    ModelInfo,
    Op,
    RunInfo,
    Site,
    Stats,
    TensorMeta,
    Trace,
    Value,
    Versions,
)

SITE = Site("net.py", 31, "Net.forward", "x = self.f5(x)")
PRODUCT = "mat1 and mat2 shapes cannot be multiplied ({} and {})"


def tensor(name: str, *shape: int, dtype: str = "float32", device: str = "cpu") -> TensorMeta:
    return TensorMeta(name, shape, dtype, device)


def layer(path: str, class_name: str, *inputs: Leaf, state: tuple[Leaf, ...] = (), settings: str | None = None) -> Call:
    """The call that raises, the tenth of its trace."""
    return Call(10, 0, 1, path, class_name, 1, "__call__", inputs=inputs, state=state, settings=settings, site=SITE)


def ran(id: int, path: str, class_name: str, given: tuple[int, ...], gave: tuple[int, ...]) -> Call:
    """A call before it, of one tensor that gave another."""
    inputs, outputs = (tensor("input", *given),), (tensor("", *gave),)
    return Call(id, 0, 1, path, class_name, 1, "__call__", inputs=inputs, outputs=outputs)


def root(type: str, message: str, *, raised_below: bool) -> Call:
    error = CallError(type, message, raised_below)
    return Call(0, None, 0, "", "Net", 1, "__call__", inputs=(tensor("x", 1, 3, 32, 32),), error=error)


def trace_of(*calls: Call, ops: tuple[Op, ...] | None = None, spec: str | None = None) -> Trace:
    return Trace(
        Versions("0.1.0", "2.13.0", "3.11.7"),
        ModelInfo(spec, "net.Net", False, 0),
        RunInfo("cpu", False, 0, None, 1.0),
        calls,
        ops,
    )


def told(call: Call, message: str, *before: Call, type: str = "RuntimeError") -> str:
    """What FT006 says when this call raises."""
    failed = replace(call, error=CallError(type, message))
    (finding,) = find(trace_of(root(type, message, raised_below=True), *before, failed))
    assert (finding.code, finding.call, finding.site) == ("FT006", 10, SITE)
    return finding.message


def told_of_op(
    name: str, message: str, *inputs: Leaf, before: tuple[Call, ...] = (), type: str = "RuntimeError"
) -> str:
    """What FT006 says when this op of the root raises."""
    op = Op(10, 0, name, inputs, site=SITE, error=CallError(type, message))
    (finding,) = find(trace_of(root(type, message, raised_below=False), *before, ops=(op,)))
    assert (finding.code, finding.call, finding.site) == ("FT006", 0, SITE)
    return finding.message


def linear(*shape: int, features: int, out: int = 120, dtype: str = "float32") -> Call:
    state = (tensor("weight", out, features, dtype=dtype), tensor("bias", out, dtype=dtype))
    return layer("f5", "Linear", tensor("input", *shape), state=state, settings=f"in_features={features}, bias=True")


def conv(*shape: int, settings: str = "3, 6, kernel_size=(5, 5), stride=(1, 1)", channels: int = 3) -> Call:
    return layer(
        "c1", "Conv2d", tensor("input", *shape), state=(tensor("weight", 6, channels, 5, 5),), settings=settings
    )


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
        "emb (Embedding) has 10 rows, so indices run from 0 to 9; got one outside; given input 1×2 int64, weight 10×4"
        " float32;"
        " set num_embeddings in emb above the largest index, or mend the indices"
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


@pytest.mark.parametrize(
    ("name", "message", "inputs", "says"),
    [
        (
            "@", PRODUCT.format("2x4", "2x4"), ((2, 4), (2, 4)),
            "@ in the model (Net) cannot multiply 2×4 by 2×4: the inner sizes are 4 and 2;"
            " transposing the right one fits: .mT makes it 4×2",
        ),
        (
            "torch.bmm", "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [3, 4].",
            ((2, 3, 4), (3, 4, 5)),
            "torch.bmm in the model (Net) cannot multiply 2×3×4 by 3×4×5: the leading sizes do not go together;"
            " make 2 and 3 equal, or 1 where they differ",
        ),
        (
            "torch.mm", "self must be a matrix", ((2, 3, 4), (4, 5)),
            "torch.mm in the model (Net) takes tensors of 2 dimensions, got 2×3×4 and 4×5;"
            " torch.matmul takes any number of leading dimensions",
        ),
        (
            "F.linear", PRODUCT.format("1x400", "256x120"), ((1, 400), (120, 256)),
            "F.linear in the model (Net) expects 256 features, got 400; given 1×400, 120×256; use a weight of 120×400",
        ),
        (
            "torch.cat", "Sizes of tensors must match except in dimension 1. Expected size 28 but got size 27 for"
            " tensor"
            " number 1 in the list.", ((1, 64, 28, 28), (1, 32, 27, 28)),
            "torch.cat in the model (Net) joins along dimension 1 and needs the others equal, got 28 and 27 in"
            " dimension 2;"
            " given 1×64×28×28, 1×32×27×28; make dimension 2 equal first",
        ),
        (
            "torch.cat", "Sizes of tensors must match except in dimension 1. Expected size 2 but got size 3 for"
            " tensor number"
            " 1 in the list.", ((2, 4), (3, 4)),
            "torch.cat in the model (Net) joins along dimension 1 and needs the others equal, got 2 and 3 in"
            " dimension 0;"
            " given 2×4, 3×4; along dim=0 they would fit",
        ),
        (
            "torch.stack", "stack expects each tensor to be equal size, but got [2, 4] at entry 0 and [2, 5] at entry"
            " 1",
            ((2, 4), (2, 5)),
            "torch.stack in the model (Net) needs tensors of one shape, got 2×4 and 2×5;"
            " torch.cat joins tensors that differ in one dimension: along dim=1 they would fit",
        ),
        (
            "Tensor.view", "shape '[-1, 256]' is invalid for input of size 400", ((1, 16, 5, 5),),
            "Tensor.view in the model (Net) cannot give 400 = 1×16×5×5 elements the shape (-1, 256): 400 is no"
            " multiple of"
            " 256; 400 = 16×5×5 in place of 256 fits; torch.flatten(x, 1) needs no number",
        ),
        (
            "torch.reshape", "shape '[3, 3]' is invalid for input of size 8", ((2, 4),),
            "torch.reshape in the model (Net) cannot give 8 = 2×4 elements the shape (3, 3): that is 9 = 3×3",
        ),
        (
            "Tensor.view", "view size is not compatible with input tensor's size and stride (at least one dimension"
            " spans"
            " across two contiguous subspaces). Use .reshape(...) instead.", ((2, 4, 3),),
            "Tensor.view in the model (Net) cannot view the tensor so: its elements do not lie in this order in memory;"
            " given 2×4×3; use .reshape(…), or .contiguous() before .view(…)",
        ),
        (
            "*", "The size of tensor a (8) must match the size of tensor b (3) at non-singleton dimension 3",
            ((2, 3, 8, 8), (2, 3)),
            "* in the model (Net) cannot broadcast 2×3×8×8 with 2×3: 8 and 3 in the last dimension;"
            " 2×3 fits as 2×3×1×1: index it [..., None, None]",
        ),
        (
            "+=", "output with shape [1, 84] doesn't match the broadcast shape [2, 84]", ((1, 84), (2, 84)),
            "+= in the model (Net) writes a result of 2×84 into a tensor of 1×84; use the form that is not in place",
        ),
        (
            "Tensor.expand", "The expanded size of the tensor (3) must match the existing size (2) at non-singleton"
            " dimension"
            " 0.  Target sizes: [3, 4].  Tensor sizes: [2, 4]", ((2, 4),),
            "Tensor.expand in the model (Net) cannot expand 2×4 to 3×4: dimension 0 has 2, not 1 or 3",
        ),
        (
            "F.scaled_dot_product_attention", "The size of tensor a (4) must match the size of tensor b (3) at"
            " non-singleton"
            " dimension 3", ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8), (3, 3)),
            "F.scaled_dot_product_attention in the model (Net) expects attn_mask to fit 1×2×4×4 (…×queries×keys), got"
            " 3×3;"
            " given 1×2×4×8, 1×2×4×8, 1×2×4×8, 3×3",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)  # fmt: skip
def test_an_op_is_told_of_by_its_operands(
    name: str, message: str, inputs: tuple[tuple[int, ...], ...], says: str
) -> None:
    assert told_of_op(name, message, *(tensor(str(at), *shape) for at, shape in enumerate(inputs))) == says


def test_an_einsum_names_the_index_and_its_equation() -> None:
    message = "einsum(): subscript j has size 5 for operand 1 which does not broadcast with previously seen size 4"
    inputs = Value("0", "'ij,jk->ik'"), tensor("1", 3, 4), tensor("2", 5, 6)
    assert told_of_op("torch.einsum", message, *inputs) == (
        "torch.einsum in the model (Net) gives the index j two sizes, 4 and 5 (operand 2, 5×6), in 'ij,jk->ik';"
        " given 3×4, 5×6"
    )


def test_operands_that_do_not_broadcast_are_told_with_who_gave_them() -> None:
    before = ran(1, "f5", "Linear", (1, 3), (1, 84)), ran(2, "f6", "Linear", (1, 84), (1, 85))
    message = "The size of tensor a (84) must match the size of tensor b (85) at non-singleton dimension 1"
    assert told_of_op("+", message, tensor("0", 1, 84), tensor("1", 1, 85), before=before) == (
        "+ in the model (Net) cannot broadcast 1×84 with 1×85: 84 and 85 in the last dimension;"
        " 1×84 was last given by f5 (Linear); 1×85 was last given by f6 (Linear)"
    )


def test_inputs_that_clash_in_other_sizes_than_torch_tells_of_are_not_blamed() -> None:
    message = "The size of tensor a (7) must match the size of tensor b (9) at non-singleton dimension 1"
    assert told(layer("m", "Mixes", tensor("x", 2, 3), tensor("y", 2, 4)), message) == (
        f"m (Mixes) raised RuntimeError: {message}; given x 2×3, y 2×4"
    )


def test_dtypes_that_differ_are_told_with_both_ways_out() -> None:
    call = linear(2, 4, features=4, out=4, dtype="float16")
    assert told(call, "mat1 and mat2 must have the same dtype, but got Float and Half") == (
        "f5 (Linear) expects float16, as its parameters are, got float32; given input 2×4 float32, weight 4×4 float16,"
        " bias 4 float16; convert the input, x.to(torch.float16), or the module, f5.to(torch.float32)"
    )


def test_whole_numbers_are_told_to_be_converted_and_never_the_model() -> None:
    call = replace(linear(2, 4, features=4, out=4), inputs=(tensor("input", 2, 4, dtype="int64"),))
    assert told(call, "mat1 and mat2 must have the same dtype, but got Long and Float") == (
        "f5 (Linear) expects float32, as its parameters are, got int64; given input 2×4 int64, weight 4×4 float32,"
        " bias 4 float32; convert the input, x.to(torch.float32)"
    )


def test_a_dtype_that_is_nowhere_in_the_trace_is_not_explained() -> None:
    call = layer("m", "Mixes", tensor("ids", 2, dtype="int64"), state=(tensor("w", 4, 4),))
    message = "mat1 and mat2 must have the same dtype, but got Half and Float"
    assert told(call, message) == f"m (Mixes) raised RuntimeError: {message}; given ids 2 int64, w 4×4 float32"


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
    findings: tuple[Finding, ...] = find(trace_of(failed, replace(failed, id=1, nth=2), replace(failed, id=2, nth=3)))
    assert [finding.call for finding in findings] == [0]
