"""What one step left, in words: a tensor, its size, an exception, the autograd graph, the gradients of all ranks."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from fwdtrace.compare.direct.step import Snapshot, StepError
from fwdtrace.compare.numbers.tensors import dtype_name, local
from fwdtrace.trace.text import plural, shape_text

LONGEST_MESSAGE = 80


def leaf_in_words(leaf: Any) -> str:
    """A tensor by its shape and dtype, anything else by its repr."""
    if not isinstance(leaf, Tensor):
        return "none" if leaf is None else repr(leaf)
    return f"{shape_text(leaf.shape)} {dtype_name(leaf.dtype)}"


def outputs_in_words(outputs: dict[str, Any]) -> str:
    """The one tensor among the outputs, or how many there are."""
    tensors = [leaf for leaf in outputs.values() if isinstance(leaf, Tensor)]
    return leaf_in_words(tensors[0]) if len(tensors) == 1 else f"{len(tensors)} tensors"


def size_in_words(tensor: Tensor | None) -> str:
    """The one element of a tensor, or its Euclidean norm."""
    if tensor is None:
        return "none"
    if tensor.is_meta or tensor.is_quantized:
        return leaf_in_words(tensor)
    if tensor.numel() == 1:
        return f"{local(tensor).item():.4g}"
    return f"norm {float(torch.linalg.vector_norm(local(tensor).detach().float())):.4g}"


def outcome_in_words(raised: StepError | None) -> str:
    """How a step ended: with a result, or with an exception and the beginning of its message."""
    if raised is None:
        return "a result"
    first = raised.message.strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    if len(first) > LONGEST_MESSAGE:
        first = first.partition(" (")[0]
    return f"{raised.type} in {raised.where}: {shorten(first, LONGEST_MESSAGE, placeholder='…')}"


def graph_in_words(snapshot: Snapshot) -> str:
    """The size of the autograd graph."""
    return plural(len(snapshot.graph), "node")


def ranks_in_words(snapshot: Snapshot) -> str:
    """How many gradients are not the same on all ranks."""
    unequal = sum(not same for same in snapshot.on_all_ranks.values())
    return f"{unequal} of {len(snapshot.on_all_ranks)} differ" if unequal else "all equal"
