"""FT006 for layers of sequences: embedding, recurrence and attention."""

from __future__ import annotations

import re
from math import prod

from fwdtrace.findings.forward_error.failure import Explain, Explanation, Failure, set_argument, sizes
from fwdtrace.findings.forward_error.products import features
from fwdtrace.trace import TensorMeta
from fwdtrace.trace.text import shape_text
from fwdtrace.trace.values import Shape


def index_of_embedding(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An embedding that was given an index it has no row for."""
    if "embedding" not in (failure.op.name if failure.op else failure.call.class_name).lower():
        return None
    weight = failure.tensors[1] if failure.op and len(failure.tensors) > 1 else failure.parameter("weight")
    if weight is None or len(weight.shape) != 2 or not failure.tensors:
        return None
    rows, ids = weight.shape[0], failure.tensors[0]
    got = _index_outside(ids, rows) or match[1] or "one outside"
    says = f"has {rows} rows, so indices run from 0 to {rows - 1}; got {got}"
    fix = "" if failure.op else f"set num_embeddings in {failure.name} above the largest index, or correct the indices"
    return Explanation(says, fix)


def _index_outside(ids: TensorMeta, rows: int) -> str:
    """The index that is too large or negative; `""` if the values were not measured."""
    if ids.stats is None or ids.stats.min is None or ids.stats.max is None:
        return ""
    outside = ids.stats.max if ids.stats.max >= rows else ids.stats.min
    return f"{outside:.0f}"


def dtype_of_indices(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An embedding that was given indices that are not whole numbers."""
    if "embedding" not in (failure.op.name if failure.op else failure.call.class_name).lower():
        return None
    got = failure.tensors[0].dtype if failure.tensors else match[1]
    return Explanation(f"expects indices of int64 or int32, got {got}", "convert the indices: x.long()")


def recurrent(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An RNN, LSTM or GRU, or a cell of one, that got another number of features than its input_size."""
    numbers = {key: int(value) for key, value in match.groupdict().items()}
    shape = failure.tensors[0].shape if failure.tensors else ()
    if not shape or shape[-1] != numbers["got"]:
        return None
    return features(failure, numbers["expected"], shape, set_argument(failure, "input_size", shape[-1]))


def hidden(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An initial hidden state whose shape does not fit the input."""
    expected, got = sizes(match[2]), sizes(match[3])
    shape = failure.tensors[0].shape if failure.tensors else ()
    fix = ""
    if len(shape) == len(expected) == len(got) == 3 and expected[1] != got[1] and got[1] in shape[:2]:
        first = shape[0] == expected[1]
        fix = f"if dimension {int(first)} of the input is the batch, use batch_first={not first}"
    says = f"expects {match[1]} of {shape_text(expected)} (layers×batch×features), got {shape_text(got)}"
    return Explanation(says, fix)


def embedding_dimension(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An attention that was given another number of features than its embed_dim."""
    expected, got = int(match[1]), int(match[2])
    shape = failure.tensors[0].shape if failure.tensors else ()
    if not shape or shape[-1] != got:
        return None
    argument = "d_model" if failure.call.class_name.startswith("Transformer") else "embed_dim"
    return features(failure, expected, shape, set_argument(failure, argument, got))


def attention_mask(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An attention mask that is not queries×keys."""
    got, expected = sizes(match[2]), sizes(match[3])
    if len(got) < 2 or len(expected) < 2:
        return None
    form = "heads·batch×queries×keys" if len(expected) > 2 else "queries×keys"
    says = f"expects attn_mask {shape_text(expected)} ({form}), got {shape_text(got)}"
    query = failure.tensors[0].shape if failure.tensors else ()
    swapped = len(query) == 3 and query[0] != query[1] and {expected[-2], got[-2]} == set(query[:2])
    sequence = query.index(got[-2]) if swapped else 0
    fix = f"if dimension {sequence} of the query is the sequence, use batch_first={sequence == 1}" if swapped else ""
    return Explanation(says, fix)


def padding_mask(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A padding mask that is not batch×keys."""
    mask = next((leaf for leaf in failure.tensors if "padding_mask" in leaf.name), None)
    if mask is None or len(mask.shape) != 2 or match[1] not in "01":
        return None
    got = f"{match[3]}: {shape_text(mask.shape)}"
    says = f"expects {match[2]} in dimension {match[1]} of {mask.name} (batch×keys), got {got}"
    return Explanation(says, "transposing it fits: .mT" if mask.shape[::-1][int(match[1])] == int(match[2]) else "")


def scaled_attention(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`F.scaled_dot_product_attention` of shapes that do not fit each other."""
    if not failure.op or not failure.op.name.endswith("scaled_dot_product_attention") or len(failure.tensors) < 3:
        return None
    query, key, value = (leaf.shape for leaf in failure.tensors[:3])
    if min(len(query), len(key), len(value)) < 2:
        return None
    if query[-1] != key[-1]:
        return Explanation(f"expects query and key with as many features, got {query[-1]} and {key[-1]}")
    if key[-2] != value[-2]:
        return Explanation(f"expects as many keys as values, got {key[-2]} and {value[-2]}")
    scores = (*query[:-2], query[-2], key[-2])
    mask = failure.tensors[3].shape if len(failure.tensors) > 3 else None
    if mask is None or _broadcasts_to(mask, scores):
        return None
    return Explanation(f"expects attn_mask to fit {shape_text(scores)} (…×queries×keys), got {shape_text(mask)}")


def _broadcasts_to(shape: Shape, target: Shape) -> bool:
    return len(shape) <= len(target) and all(
        have in (1, want) for have, want in zip(reversed(shape), reversed(target), strict=False)
    )


def fused_mask(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A fused attention or transformer layer whose mask has the wrong number of elements."""
    target, count = sizes(match[1]), int(match[2])
    mask = next((leaf for leaf in failure.tensors if "mask" in leaf.name and prod(leaf.shape) == count), None)
    if (
        not failure.call.class_name.startswith(("Transformer", "MultiheadAttention"))
        or failure.op
        or mask is None
        or len(target) < 2
    ):
        return None
    return Explanation(f"expects {mask.name} {shape_text(target[-2:])} (queries×keys), got {shape_text(mask.shape)}")


_SIZES = r"[\[(]([\d, ]*)[\])]"
SEQUENCES: tuple[tuple[str, Explain], ...] = (
    (r"index out of range in self()", index_of_embedding),
    (r"input takes value (-?\d+) which is not in the valid range", index_of_embedding),
    (
        r"'indices' to have one of the following scalar types: .*; but got torch\.(\w+)Tensor",
        dtype_of_indices,
    ),
    (r"must be equal to input_size\. Expected (?P<expected>\d+), got (?P<got>\d+)", recurrent),
    (r"inconsistent input_size: got (?P<got>\d+) expected (?P<expected>\d+)", recurrent),
    (rf"Expected (hidden(?:\[\d\])?) size {_SIZES}, got {_SIZES}", hidden),
    (r"was expecting embedding dimension of (\d+), but got (\d+)", embedding_dimension),
    (r"passed-in embed_dim (\d+) didn't match last dim of query (\d+)", embedding_dimension),
    (
        rf"shape of the (\d)D attn_mask is torch\.Size\({_SIZES}\), but should be {_SIZES}",
        attention_mask,
    ),
    (r"Expected key_padded_mask\.shape\[(\d)\] to be (\d+), but got (\d+)", padding_mask),
    (r"must match the size of tensor b|batch2 tensor to be", scaled_attention),
    (rf"shape '{_SIZES}' is invalid for input of size (\d+)", fused_mask),
)
"""Patterns of the messages of torch, each with the function that explains it."""
