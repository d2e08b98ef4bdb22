"""Tensors that are described alike, what tells quickly that one is among them, and how often one was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, is_inference_mode_enabled, nn

from fwdtrace.recorder.torch_internals import likeness
from fwdtrace.trace import Leaf

Leaves = tuple[Leaf, ...]
_QUIET = (nn.Parameter.__torch_function__, torch._C._disabled_torch_function_impl)
NO_VERSION = -1


class Alike:
    """How tensors are described that are like `example`: as the only argument of a call, and as its result.

    `accepts` says quickly whether a value is one of them. It may refuse one that is, where torch treats that otherwise.
    `has_version` says whether the example had one; what is accepted has one too, but for where inference mode is not as
    it was with the example.
    """

    __slots__ = ("accepts", "as_input", "as_output", "has_version", "named")

    accepts: Callable[[Any], bool]
    has_version: bool

    def __init__(self, as_input: Leaves, as_output: Leaves, example: Tensor | None) -> None:
        self.as_input = as_input
        self.as_output = as_output
        self.named = {leaf.name: leaf for leaf in (*as_input, *as_output)}
        self.take_as_example(example)

    def take_as_example(self, example: Tensor | None) -> None:
        """Have `accepts` say yes to what is like this tensor, which is described as they are."""
        accepts = likeness(example) if example is not None else None
        self.accepts = accepts or _nothing
        self.has_version = example is not None and version_of(example) != NO_VERSION


def version_of(tensor: Tensor) -> int:
    """How often the memory of a tensor was written into; no version if reading it would run code of the user's."""
    kind = type(tensor)
    if kind is not Tensor and kind.__torch_function__ not in _QUIET:
        return NO_VERSION
    if is_inference_mode_enabled() and tensor.is_inference():
        return NO_VERSION
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode, which is over
        return NO_VERSION


def version_like(tensor: Tensor, like: Alike) -> int:
    """How often the memory of a tensor was written into that is like others; as `version_of` has it, but quickly."""
    try:
        return tensor._version if like.has_version else version_of(tensor)
    except RuntimeError:  # made in inference mode, which was on with the example
        return NO_VERSION


def _nothing(_: Any) -> bool:
    return False


LIKE_NOTHING = Alike((), (), None)
