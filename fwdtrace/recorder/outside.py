"""Which index an embedding or a loss was given that there is no row or class for; looked up when it has raised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fwdtrace.recorder.torch_internals import without_torch_function
from fwdtrace.trace import CallError, Value


def with_index_outside(found: CallError, error: BaseException, tensors: Iterable[Any], second: Any) -> CallError:
    """What is kept of an error, with the index that no row has if it is one of a table with rows, or no class.

    `second` is the second argument of the call or op, which is the target if it is a loss.
    """
    if not isinstance(error, IndexError):
        return found
    try:
        with without_torch_function(), torch.no_grad():
            target = re.fullmatch(r"Target (-?\d+) is out of bounds\.?", str(error))
            outside = _target_outside(second, int(target[1])) if target else _outside(_looked_up(error) or tensors)
    except Exception:  # a tensor without values, or a stranger's: it must not replace the error it is asked about
        return found
    return replace(found, outside=outside)


def _looked_up(error: BaseException) -> tuple[Any, ...]:
    """What `F.embedding` was given if it raised: a layer may have added something to its own argument."""
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code is F.embedding.__code__:
            return frame.f_locals["input"], frame.f_locals["weight"]
        traceback = traceback.tb_next
    return ()


def _target_outside(targets: Tensor, index: int) -> Value:
    return _at("target", (targets == index).nonzero()[0].tolist(), index)


def _outside(given: Iterable[Any]) -> Value | None:
    tensors = [each for each in given if isinstance(each, Tensor)]
    whole = [each for each in tensors if not each.is_floating_point() and each.dtype != torch.bool]
    tables = [each for each in tensors if each.is_floating_point() and each.dim() == 2]
    if len(whole) != 1 or len(tables) != 1:
        return None
    indices, rows = whole[0], tables[0].shape[0]
    largest, smallest = int(indices.max()), int(indices.min())
    if smallest >= 0 and largest < rows:
        return None
    index = largest if largest >= rows else smallest
    return _at("input", (indices == index).nonzero()[0].tolist(), index)


def _at(name: str, place: list[int], index: int) -> Value:
    return Value(f"{name}[{', '.join(map(str, place))}]" if place else name, str(index))
