"""FT006 for embeddings and attention, on traces written by hand."""

from __future__ import annotations

from dataclasses import replace

from fwdtrace.trace import Stats
from tests.helpers.crashes import (
    explained,
    layer,
    ran,
    tensor,
)


def test_an_attention_names_its_embed_dim_and_the_layer_that_gave_another() -> None:
    call = layer("mha", "MultiheadAttention", tensor("query", 3, 2, 6), state=(tensor("in_proj_weight", 24, 8),))
    embedding = ran(1, "emb", "Embedding", (3, 2), (3, 2, 6))
    assert explained(call, "was expecting embedding dimension of 8, but got 6", embedding, type="AssertionError") == (
        "mha (MultiheadAttention) expects 8 features, got 6; given query 3×2×6, in_proj_weight 24×8;"
        " set embed_dim=6 in mha, or embedding_dim=8 in emb"
    )


def test_an_index_outside_an_embedding_names_the_rows_and_the_index_if_it_was_measured() -> None:
    ids = tensor("input", 1, 2, dtype="int64")
    measured = replace(ids, stats=Stats(6.0, 6.0, 1.0, 12.0, 0, 0, 0))
    unknown, known = (
        explained(
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


def test_indices_that_are_floats_are_to_be_converted() -> None:
    call = layer("emb", "Embedding", tensor("input", 2, 3), state=(tensor("weight", 10, 4),))
    message = (
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got"
        " torch.FloatTensor instead (while checking arguments for embedding)"
    )
    assert explained(call, message) == (
        "emb (Embedding) expects indices of int64 or int32, got float32; given input 2×3, weight 10×4;"
        " convert the indices: x.long()"
    )
