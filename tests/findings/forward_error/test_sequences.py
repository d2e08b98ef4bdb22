"""FT006 for embeddings and attention, on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdtrace.findings import find
from fwdtrace.trace import CallError, Source, Value
from tests.helpers.crashes import (
    advised,
    advised_op,
    explained,
    explained_op,
    layer,
    ran,
    root,
    tensor,
    texts_of,
    trace_of,
)


def test_an_attention_names_its_embed_dim_and_the_layer_that_gave_another() -> None:
    call = layer(
        "mha", "MultiheadAttention", tensor("query", 3, 2, 6, source=1), state=(tensor("in_proj_weight", 24, 8),)
    )
    embedding = ran(1, "emb", "Embedding", (3, 2), (3, 2, 6))
    message = "was expecting embedding dimension of 8, but got 6"
    assert explained(call, message, embedding, type="AssertionError") == (
        "mha (MultiheadAttention) expects 8 features, got 6; given query 3×2×6 from emb, in_proj_weight 24×8"
    )
    assert advised(call, message, embedding, type="AssertionError") == [
        "set embed_dim=6 in mha",
        "set embedding_dim=8 in emb",
    ]


@pytest.mark.parametrize(
    ("outside", "says", "advice"),
    [
        (None, "got one outside", []),
        (Value("input[0, 1]", "12"), "got 12, at input[0, 1]", ["set num_embeddings=13 in emb or more"]),
        (Value("input[0, 0]", "-100"), "got -100, at input[0, 0]: no table has a negative index", []),
    ],
)
def test_an_index_outside_an_embedding_is_named_with_its_place(
    outside: Value | None, says: str, advice: list[str]
) -> None:
    call = layer("emb", "Embedding", tensor("input", 1, 2, dtype="int64"), state=(tensor("weight", 10, 4),))
    failed = replace(call, error=CallError("IndexError", "index out of range in self", outside=outside))
    trace = trace_of(root("IndexError", "index out of range in self", raised_below=True), failed)
    (finding,) = find(trace)
    assert finding.message.startswith(f"emb (Embedding) has 10 rows, so indices run from 0 to 9; {says}; given input")
    assert texts_of(trace) == advice
    assert [fix.tried for fix in finding.fixes] == ([False] if "negative" in says else [])


def test_indices_that_are_floats_are_to_be_converted() -> None:
    call = layer(
        "emb", "Embedding", tensor("input", 2, 3, source=Source(argument="x")), state=(tensor("weight", 10, 4),)
    )
    message = (
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got"
        " torch.FloatTensor instead (while checking arguments for embedding)"
    )
    assert explained(call, message) == (
        "emb (Embedding) expects indices of int64 or int32, got float32; given input 2×3 (the argument x), weight 10×4"
    )
    assert advised(call, message)[-1] == "give the model x of 1×3×32×32 as int64"


def test_lengths_that_are_not_sorted_are_packed_with_an_argument_for_that() -> None:
    message = "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass"
    says = explained_op("torch._pack_padded_sequence", message, tensor("0", 4, 7, 12), tensor("1", 4, dtype="int64"))
    assert "expects the lengths from the longest to the shortest, got another order" in says
    assert says.endswith("; pack with enforce_sorted=False, or sort the sequences by their length (not tried)")


@pytest.mark.parametrize(
    ("got", "batch", "says"),
    [
        (4, 7, "got 4; it was called with batch_first=False, and dimension 0 has 4"),
        (7, 4, "got 7; it was called with batch_first=True, and dimension 1 has 7"),
        (3, 7, "got 3; given"),
    ],
)
def test_a_length_for_each_sequence_is_expected(got: int, batch: int, says: str) -> None:
    message = f"Expected `len(lengths)` to be equal to batch_size, but got {got} (batch_size={batch})"
    text = explained_op("torch._pack_padded_sequence", message, tensor("0", 4, 7, 12), tensor("1", got, dtype="int64"))
    assert f"expects a length for each of {batch} sequences, {says}" in text


def test_an_index_without_the_dimension_that_is_gathered_is_given_one() -> None:
    message = "Index tensor must have the same number of dimensions as input tensor"
    given = tensor("0", 6, 2), Value("1", "1"), tensor("2", 6, dtype="int64")
    assert explained_op("Tensor.gather", message, *given).startswith(
        "Tensor.gather in the model (Net) expects an index of as many dimensions as its input, 6×2; got 6"
    )
    assert advised_op("Tensor.gather", message, *given) == [
        "apply .unsqueeze(1) to the second operand of Tensor.gather in line 31"
    ]


def test_heads_that_do_not_divide_the_features_are_tried_in_the_nearest_numbers_that_do() -> None:
    call = layer("mha", "MultiheadAttention", tensor("query", 3, 2, 32))
    message = "embed_dim 32 not divisible by num_heads 5"
    assert explained(call, message, type="AssertionError") == (
        "mha (MultiheadAttention) has num_heads=5, and its embed_dim, 32, is no multiple of 5; given query 3×2×32"
    )
    assert advised(call, message, type="AssertionError") == ["set num_heads=4 in mha", "set num_heads=2 in mha"]


def test_a_padding_mask_that_is_turned_around_is_told_by_its_sizes() -> None:
    mask = tensor("src_key_padding_mask", 6, 2, dtype="bool")
    call = layer("e", "TransformerEncoder", tensor("src", 2, 6, 32), mask)
    message = "Mask size should match input size"
    assert explained(call, message).startswith(
        "e (TransformerEncoder) expects src_key_padding_mask 2×6 (batch×keys), got 6×2;"
    )
    assert advised(call, message) == ["pass src_key_padding_mask.transpose(0, 1) to e"]


def test_a_mask_for_each_example_is_tried_once_for_each_head_where_the_number_of_heads_is_not_known() -> None:
    mask = tensor("attn_mask", 2, 5, 5, dtype="bool")
    call = layer("attn", "MultiheadAttention", tensor("query", 2, 5, 6), mask)
    message = "For mask_type == 2 mask shape should match input shape"
    assert advised(call, message) == [f"pass attn_mask.repeat_interleave({heads}, 0) to attn" for heads in (2, 3, 6)]
    alone = layer("attn", "MultiheadAttention", tensor("query", 2, 5, 6), tensor("attn_mask", 3, 5, 5, dtype="bool"))
    assert advised(alone, message) == []
