"""Which index an embedding was given that its table has no row for; looked up when it has raised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.torch_internals import without_torch_function
from fwdtrace.trace import CallError, Value


def with_index_outside(found: CallError, error: BaseException, tensors: Iterable[Any]) -> CallError:
    """What is kept of an error, with the index that no row has if it is one of a table with rows."""
    if not isinstance(error, IndexError):
        return found
    try:
        with without_torch_function(), torch.no_grad():
            outside = _outside([each for each in tensors if isinstance(each, Tensor)])
    except Exception:  # a tensor without values, or a stranger's: it must not replace the error it is asked about
        return found
    return replace(found, outside=outside)


def _outside(tensors: list[Tensor]) -> Value | None:
    whole = [each for each in tensors if not each.is_floating_point() and each.dtype != torch.bool]
    tables = [each for each in tensors if each.is_floating_point() and each.dim() == 2]
    if len(whole) != 1 or len(tables) != 1:
        return None
    indices, rows = whole[0], tables[0].shape[0]
    largest, smallest = int(indices.max()), int(indices.min())
    if smallest >= 0 and largest < rows:
        return None
    index = largest if largest >= rows else smallest
    place = (indices == index).nonzero()[0].tolist()
    return Value(f"input[{', '.join(map(str, place))}]" if place else "input", str(index))
