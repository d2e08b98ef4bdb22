"""Random weights that cost little: drawing them is most of what building a large model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

BLOCK = 1 << 16  # elements; smaller tensors are drawn as always


@contextmanager
def cheap_weights() -> Iterator[None]:
    """For each large tensor draw one block of random numbers, and repeat it until the tensor is full."""
    with ExitStack() as patches:
        for name in ("normal_", "uniform_", "erfinv_"):
            patches.enter_context(mock.patch.object(Tensor, name, in_blocks(getattr(Tensor, name))))
        yield


def in_blocks(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method that changes each element of a tensor by itself, done for the first block and copied to the others."""

    def changed(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if tensor.numel() <= BLOCK or not tensor.is_contiguous() or tensor.is_meta:
            return change(tensor, *args, **kwargs)
        with torch.no_grad():
            flat = tensor.detach().view(-1)
            block = change(flat[:BLOCK], *args, **kwargs)
            whole = flat.numel() // BLOCK * BLOCK
            flat[BLOCK:whole].view(-1, BLOCK).copy_(block)
            flat[whole:].copy_(block[: flat.numel() - whole])
        return tensor

    return changed
