"""FT006 for layers of sequences: embedding and attention."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

from fwdtrace.findings.forward_error.arguments import as_dtype
from fwdtrace.findings.forward_error.changes import PACKING, Called, Given, Proposal, Step
from fwdtrace.findings.forward_error.failure import CALL, GIVE, Explain, Explanation, Failure, Misfit, sizes
from fwdtrace.findings.forward_error.products import features
from fwdtrace.trace import TensorMeta
from fwdtrace.trace.text import shape_text
from fwdtrace.trace.values import Shape, tensors_in

FIRST_POSITIONS = 4
"""Indices may be positions, which may not begin at 0, as those of RoBERTa: a text is tried with up to so many tokens
less than the table."""


def index_of_embedding(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An embedding that was given an index it has no row for."""
    name = failure.op.name if failure.op else failure.call.class_name
    if "embedding" not in name.lower() and failure.error.outside is None:
        return None
    weight = failure.tensors[1] if failure.op and len(failure.tensors) > 1 else failure.parameter("weight")
    if weight is None or len(weight.shape) != 2 or not failure.tensors:
        return None
    rows, outside = weight.shape[0], failure.error.outside
    says = f"has {rows} rows, so indices run from 0 to {rows - 1}"
    if outside is None:
        return Explanation(f"{says}; got {match[1] or 'one outside'}")
    says += f"; got {outside.value}, at {outside.name}"
    index = int(outside.value)
    if index < 0:
        return Explanation(f"{says}: no table has a negative index", note=f"put another index in place of {index}")
    place = sizes(outside.name)
    misfits = tuple(
        Misfit(ids, len(place) - 1, rows - first)
        for ids in failure.tensors
        if place and len(ids.shape) == len(place) and place[-1] == ids.shape[-1] - 1
        for first in [index - place[-1]]
        if 0 <= first < min(rows, FIRST_POSITIONS)
    )[:1]
    built = tuple(replace(each, why=" or more") for each in failure.built("num_embeddings", index + 1))
    return Explanation(says, built, misfits)


def beyond(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An index of `gather` that there is not, as of a position in a table that is too short."""
    index, dimension, size = (int(number) for number in match.groups())
    name = failure.name
    if failure.op is None or len(failure.tensors) < 2 or dimension >= len(failure.tensors[1].shape):
        return None
    says = f"was given the index {index}; dimension {dimension} has {size}, indices 0 to {size - 1}"
    given = failure.tensors[1]
    shorter = range(size, max(0, size - FIRST_POSITIONS), -1) if "gather" in name and index >= size else ()
    return Explanation(says, misfits=tuple(Misfit(given, dimension, each) for each in shorter))


def index_of_fewer_dimensions(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An index of `gather` and its like without the dimension that it is taken along."""
    if failure.op is None or len(failure.tensors) < 2:
        return None
    given, index = failure.tensors[:2]
    along = failure.value("dim", 1)
    says = f"expects an index of as many dimensions as its input, {shape_text(given.shape)}"
    says += f"; got {shape_text(index.shape)}"
    if along is None or not along.lstrip("-").isdigit() or len(index.shape) != len(given.shape) - 1:
        return Explanation(says)
    at = int(along) % len(given.shape)
    if index.shape != (*given.shape[:at], *given.shape[at + 1 :]):
        return Explanation(says)
    return Explanation(says, failure.passed(Step("unsqueeze", (at,)), tensor=1))


def dtype_of_indices(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An embedding that was given indices that are not whole numbers."""
    if "embedding" not in (failure.op.name if failure.op else failure.call.class_name).lower():
        return None
    got = failure.tensors[0].dtype if failure.tensors else match[1]
    return Explanation(f"expects indices of int64 or int32, got {got}", as_dtype(failure, "int64", first=True))


def heads(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An attention whose features cannot be shared among its heads."""
    size, number = int(match[1]), int(match[2])
    if failure.call.class_name != "MultiheadAttention" or number < 1:
        return None
    says = f"has num_heads={number}, and its embed_dim, {size}, is no multiple of {number}"
    divisors = sorted((each for each in range(1, size + 1) if size % each == 0), key=lambda each: abs(each - number))
    return Explanation(says, tuple(each for near in divisors[:2] for each in failure.built("num_heads", near)))


def embedding_dimension(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An attention that was given another number of features than its embed_dim."""
    expected, got = int(match[1]), int(match[2])
    if not failure.tensors or failure.tensors[0].shape[-1:] != (got,):
        return None
    transformer = failure.call.class_name.startswith("Transformer")
    return features(failure, expected, failure.tensors[0], "" if transformer else "embed_dim")


def attention_mask(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An attention mask that is not queries×keys."""
    got, expected = sizes(match[2]), sizes(match[3])
    if len(got) < 2 or len(expected) < 2:
        return None
    form = "heads·batch×queries×keys" if len(expected) > 2 else "queries×keys"
    says = f"expects attn_mask {shape_text(expected)} ({form}), got {shape_text(got)}"
    query = failure.tensors[0].shape if failure.tensors else ()
    swapped = len(query) == 3 and query[0] != query[1] and {expected[-2], got[-2]} == set(query[:2])
    batch_first = swapped and query.index(got[-2]) == 1
    mask = next((leaf for leaf in failure.tensors if leaf.shape == got), None)
    misfits = () if mask is None else _of_last_two(failure, mask, expected)
    proposals = failure.built("batch_first", batch_first) if swapped else ()
    if mask is not None and len(got) == len(expected) == 3 and got[1:] == expected[1:] and expected[0] % got[0] == 0:
        step = Step("repeat_interleave", (expected[0] // got[0], 0))
        proposals += failure.passed(step, tensor=failure.tensors.index(mask))
    return Explanation(says, proposals, misfits)


def _of_last_two(failure: Failure, mask: TensorMeta, wanted: Shape) -> tuple[Misfit, ...]:
    """The last two sizes of a mask, where they differ from the wanted ones."""
    places = range(len(mask.shape) - 2, len(mask.shape))
    pairs = ((at, wanted[at - len(mask.shape)]) for at in places)
    return tuple(Misfit(mask, at, size) for at, size in pairs if mask.shape[at] != size)


def padding_mask(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A padding mask that is not batch×keys."""
    mask = next((leaf for leaf in failure.tensors if "padding_mask" in leaf.name), None)
    if mask is None or len(mask.shape) != 2 or match[1] not in "01":
        return None
    got = f"{match[3]}: {shape_text(mask.shape)}"
    says = f"expects {match[2]} in dimension {match[1]} of {mask.name} (batch×keys), got {got}"
    at, wanted = int(match[1]), int(match[2])
    proposals: tuple[Proposal, ...] = ()
    if mask.shape[::-1][at] == wanted:
        proposals = failure.passed(Step("transpose", (0, 1)), tensor=failure.tensors.index(mask))
    query = failure.tensors[0].shape
    if at == 0 and len(query) == 3 and query[1] == wanted and query[:2] == mask.shape:  # the examples are first in both
        proposals += failure.built("batch_first", True)
    return Explanation(says, proposals, (Misfit(mask, at, wanted),))


def padding_mask_turned(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A padding mask that is keys×batch, as the fused path of an encoder says it."""
    mask = next((leaf for leaf in failure.tensors if "padding_mask" in leaf.name), None)
    if mask is None or mask.shape != failure.tensors[0].shape[:2][::-1]:
        return None
    says = f"expects {mask.name} {shape_text(mask.shape[::-1])} (batch×keys), got {shape_text(mask.shape)}"
    return Explanation(says, failure.passed(Step("transpose", (0, 1)), tensor=failure.tensors.index(mask)))


def fused_mask_of_heads(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A fused attention whose mask has as many parts as there are examples, and not as many as examples and heads."""
    mask = next((leaf for leaf in failure.tensors if leaf.name == "attn_mask"), None)
    if failure.call.class_name != "MultiheadAttention" or failure.op or mask is None or len(mask.shape) != 3:
        return None
    scores = shape_text(mask.shape[1:])
    says = f"expects attn_mask of heads·batch×{scores} or {scores} (queries×keys), got {shape_text(mask.shape)}"
    query = failure.tensors[0].shape
    if mask.shape[0] not in query[:-1]:
        return Explanation(says)
    numbers = [number for number in range(2, query[-1] + 1) if query[-1] % number == 0]  # of heads, which is not known
    steps = [Step("repeat_interleave", (number, 0)) for number in numbers]
    at = failure.tensors.index(mask)
    return Explanation(says, tuple(each for step in steps for each in failure.passed(step, tensor=at)))


def scaled_attention(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`F.scaled_dot_product_attention` of shapes that do not fit each other."""
    if not failure.op or not failure.op.name.endswith("scaled_dot_product_attention") or len(failure.tensors) < 3:
        return None
    query, key, value = (leaf.shape for leaf in failure.tensors[:3])
    if min(len(query), len(key), len(value)) < 2:
        return None
    keys, values = failure.tensors[1:3]
    if query[-1] != key[-1]:
        says = f"expects query and key with as many features, got {query[-1]} and {key[-1]}"
        return Explanation(says, misfits=(Misfit(keys, len(key) - 1, query[-1]),))
    if key[-2] != value[-2]:
        both = (Misfit(values, len(value) - 2, key[-2]), Misfit(keys, len(key) - 2, value[-2]))
        return Explanation(f"expects as many keys as values, got {key[-2]} and {value[-2]}", misfits=both)
    if len(query) == len(key) > 2 and query[0] != key[0] and 1 not in (query[0], key[0]):
        says = f"expects as many examples of query as of key, got {query[0]} and {key[0]}"
        return Explanation(says, _as_many(failure, key[0], query[0]))
    if len(query) == len(key) == len(value) > 3 and (explanation := _heads(failure, query[-3], key[-3], value[-3])):
        return explanation
    scores = (*query[:-2], query[-2], key[-2])
    mask = failure.tensors[3] if len(failure.tensors) > 3 else None
    if mask is None or _broadcasts_to(mask.shape, scores):
        return None
    says = f"expects attn_mask to fit {shape_text(scores)} (…×queries×keys), got {shape_text(mask.shape)}"
    proposals: tuple[Proposal, ...] = ()
    if len(mask.shape) == 2 and mask.shape == (query[0], key[-2]):
        proposals = failure.passed(*(Step("unsqueeze", (1,)),) * (len(query) - 2), tensor=3)
    return Explanation(says, proposals, _of_last_two(failure, mask, scores) if len(mask.shape) > 1 else ())


def _heads(failure: Failure, of_query: int, of_key: int, of_value: int) -> Explanation | None:
    """Heads of the keys and of the values that are not as many, or do not share those of the queries evenly."""
    queries, keys, values, *_ = failure.tensors
    place = len(keys.shape) - 3
    if of_key != of_value and 1 not in (of_key, of_value):
        says = f"expects as many heads of key as of value, got {of_key} and {of_value}"
        both = failure.maker_built(values, place, of_key) + failure.maker_built(keys, place, of_value)
        return Explanation(says, both)
    if of_key == 0:
        return None
    if "divide" in failure.error.message and of_query % of_key:
        says = f"expects heads of key and value that share {of_query} heads of query evenly, got {of_key}"
        fitting = sorted(
            (each for each in range(1, of_query + 1) if of_query % each == 0), key=lambda each: abs(each - of_key)
        )
        return Explanation(says, _of_both(failure, place, fitting))
    if of_key == of_value and 1 not in (of_query, of_key) and set(sizes(failure.error.message)) >= {of_query, of_key}:
        says = f"expects as many heads of query as of key, got {of_query} and {of_key}"
        proposals = failure.maker_built(queries, place, of_key) + _of_both(failure, place, [of_query])
        return Explanation(says, proposals) if of_query != of_key else None
    return None


def _of_both(failure: Failure, place: int, fitting: list[int]) -> tuple[Proposal, ...]:
    """The layers that made the keys and the values, both built to give another number of heads."""
    _, keys, values, *_ = failure.tensors
    pairs = (
        (key, value)
        for wanted in fitting
        for key in failure.maker_built(keys, place, wanted)
        for value in failure.maker_built(values, place, wanted)
    )
    return tuple(replace(key, changes=(*key.changes, *value.changes)) for key, value in pairs)


def unsorted(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """Sequences that are packed without the longest one first."""
    says = "expects the lengths from the longest to the shortest, got another order"
    note = "pack with enforce_sorted=False, or sort the sequences by their length"
    return Explanation(says, _packed(failure, 3, "enforce_sorted", False), note=note)


def _packed(failure: Failure, place: int, argument: str, value: bool) -> tuple[Proposal, ...]:
    """The function of torch that packs, which the line calls, called with another argument."""
    site = failure.op.site if failure.op is not None else None
    name = next((each for each in PACKING if site is not None and f"{each}(" in site.code), None)
    return (Proposal((Called(name, site, place, argument, value),), CALL),) if name and site is not None else ()


def lengths(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """More or fewer lengths than sequences."""
    got, examples = int(match[1]), int(match[2])
    padded = failure.tensors[0].shape if failure.tensors else ()
    says = f"expects a length for each of {examples} sequences, got {got}"
    if padded[:2] in ((got, examples), (examples, got)) and got != examples:
        first = padded[0] == examples
        says += f"; it was called with batch_first={first}, and dimension {int(first)} has {got}"
        proposals = _packed(failure, 2, "batch_first", not first)
        return Explanation(says, proposals, note=f"batch_first={not first} takes the examples from there")
    return Explanation(says)


def examples_of_keys(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """Attention with the examples first whose keys are of more or fewer examples than its queries."""
    if failure.op is not None or failure.call.class_name != "MultiheadAttention" or len(failure.tensors) < 2:
        return None
    query, key = (leaf.shape for leaf in failure.tensors[:2])
    if len(query) != 3 or len(key) != 3 or query[0] == key[0] or sizes(match[1])[0] != key[1]:
        return None
    says = f"expects as many examples of query as of key, got {query[0]} and {key[0]}"
    return Explanation(says, _as_many(failure, key[0], query[0]))


def _as_many(failure: Failure, one: int, two: int) -> tuple[Proposal, ...]:
    """The arguments of the model that have one number of examples, with the other one."""
    *_, root = (failure.call, *failure.trace.callers(failure.call))
    return tuple(
        Proposal((Given(leaf.name, (wanted, *leaf.shape[1:])),), GIVE + cost)
        for had, wanted, cost in ((one, two, 0.0), (two, one, 0.1))
        for leaf in tensors_in(root.inputs)
        if leaf.shape[:1] == (had,)
    )


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
    says = f"expects {mask.name} {shape_text(target[-2:])} (queries×keys), got {shape_text(mask.shape)}"
    return Explanation(says, misfits=_of_last_two(failure, mask, target) if len(mask.shape) > 1 else ())


_SIZES = r"[\[(]([\d, ]*)[\])]"
SEQUENCES: tuple[tuple[str, Explain], ...] = (
    (r"index out of range in self()", index_of_embedding),
    (r"index (-?\d+) is out of bounds for dimension (\d+) with size (\d+)", beyond),
    (
        r"Index tensor must have the same number of dimensions as|indices should have the same number of dimensions",
        index_of_fewer_dimensions,
    ),
    (r"input takes value (-?\d+) which is not in the valid range", index_of_embedding),
    (
        r"'indices' to have one of the following scalar types: .*; but got torch\.(\w+)",
        dtype_of_indices,
    ),
    (r"embed_dim (\d+) not divisible by num_heads (\d+)", heads),
    (r"was expecting embedding dimension of (\d+), but got (\d+)", embedding_dimension),
    (r"passed-in embed_dim (\d+) didn't match last dim of query (\d+)", embedding_dimension),
    (
        rf"shape of the (\d)D attn_mask is torch\.Size\({_SIZES}\), but should be {_SIZES}",
        attention_mask,
    ),
    (r"Expected key_padded_mask\.shape\[(\d)\] to be (\d+), but got (\d+)", padding_mask),
    (r"Mask size should match input size", padding_mask_turned),
    (r"`lengths` array must be sorted in decreasing order", unsorted),
    (r"Expected `len\(lengths\)` to be equal to batch_size, but got (\d+) \(batch_size=(\d+)\)", lengths),
    (r"mask_type == 2 mask shape should match", fused_mask_of_heads),
    (r"must match the size of tensor b|batch2 tensor to be|heads in key and value must divide", scaled_attention),
    (rf"shape '{_SIZES}' is invalid for input of size (\d+)", examples_of_keys),
    (rf"shape '{_SIZES}' is invalid for input of size (\d+)", fused_mask),
)
"""Patterns of the messages of torch, each with the function that explains it."""
