"""Who wrote into which memory, as it is noted while a model runs."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import torch
from torch import Tensor

from fwdtrace.recorder.measures.writes import Writes
from fwdtrace.recorder.notes import NOTHING, OpenOp
from fwdtrace.recorder.torch_internals import memory_of


def run(writes: Writes, *tensors: Tensor, write: Any = None, inner: OpenOp | None = None) -> OpenOp:
    """An op that is given these tensors, and writes or has another op write within it."""
    op = OpenOp(NOTHING)
    writes.begins(op, tensors, {})
    if inner is not None:
        writes.begins(inner, tensors, {})
    if write is not None:
        write()
    if inner is not None:
        writes.ends(inner)
    writes.ends(op)
    return op


def test_the_writers_between_two_versions_are_told_in_order() -> None:
    writes, x = Writes(), torch.ones(3)
    run(writes, x)
    first = run(writes, x, write=lambda: x.add_(1))
    second = run(writes, x, write=lambda: x.mul_(2))
    assert writes.after(memory_of(x), 0, 2) == [first, second]
    assert writes.after(memory_of(x), 1, 2) == [second]
    assert writes.after(memory_of(x), 2, 2) == []
    assert writes.into(first, 1) == memory_of(x) and writes.into(first, 2) is None
    assert writes.only_memory(0, 2) == memory_of(x) and writes.only_memory(0, 1) is None


def test_a_write_into_a_view_is_one_into_its_base() -> None:
    writes, x = Writes(), torch.ones(4)
    view = x.view(2, 2)[0]
    op = run(writes, view, write=lambda: view.zero_())
    assert writes.after(memory_of(x), 0, 1) == [op]


def test_of_nested_ones_the_innermost_wrote() -> None:
    writes, x, inner = Writes(), torch.ones(3), OpenOp(NOTHING)
    run(writes, x, write=lambda: x.add_(1), inner=inner)
    assert writes.after(memory_of(x), 0, 1) == [inner]


def test_memory_that_is_used_again_has_writers_of_its_own() -> None:
    writes, x = Writes(), torch.ones(3)
    run(writes, x, write=lambda: x.add_(1))
    writes._by_memory = {memory_of(y := torch.ones(3)): next(iter(writes._by_memory.values()))}  # as if y had it now
    second = run(writes, y, write=lambda: y.add_(1))
    assert writes.after(memory_of(y), 0, 1) == [second]


def test_no_tensor_is_kept_alive_and_what_raised_is_forgotten() -> None:
    writes, x = Writes(), torch.ones(3)
    alive = weakref.ref(x)
    writes.begins(OpenOp(NOTHING), (x,), {})
    del x
    gc.collect()
    assert alive() is None
    writes.forget_unfinished()


def test_a_tensor_without_a_version_is_passed_over() -> None:
    writes = Writes()
    with torch.inference_mode():
        x = torch.ones(3)
        run(writes, x, write=lambda: x.add_(1))
    assert writes.after(memory_of(x), 0, 1) == []
