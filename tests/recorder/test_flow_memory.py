"""No tensor lives longer because its source is known: the memory at the peak is what it was, counted by storage."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fwdtrace
from fwdtrace.trace import Source, TensorMeta


class Peak(TorchDispatchMode):
    """Counts the bytes of all storages that ops made and that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return result


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(torch.relu(self.up(self.norm(x))) * 2.0)
        y += x
        first, second = y.chunk(2, -1)
        return torch.cat([second, first], -1)


def peak(model: nn.Module, run: Callable[[nn.Module], Any], *, ops: bool | None) -> int:
    """The most bytes at once; `ops` is None without a recording."""
    with Peak() as measured, nullcontext() if ops is None else fwdtrace.record(model, ops=ops):
        for _ in range(3):
            run(model)
    return measured.most


def forward(model: nn.Module) -> None:
    with torch.no_grad():
        model(torch.ones(8, 16, 32))


def step(model: nn.Module) -> None:
    model(torch.ones(8, 16, 32)).square().mean().backward()
    model.zero_grad()


@pytest.mark.parametrize("run", [forward, step])
def test_the_peak_of_memory_is_the_same_with_and_without(run: Callable[[nn.Module], Any]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(32) for _ in range(6)))
    bare = peak(model, run, ops=None)
    assert bare > 100_000
    assert peak(model, run, ops=True) <= bare * 1.01
    assert peak(model, run, ops=False) <= bare * 1.01


def test_the_count_of_bytes_sees_a_tensor_that_is_held() -> None:
    model, held = nn.Sequential(*(Block(32) for _ in range(6))), []
    bare = peak(model, forward, ops=None)
    for block in model:
        block.register_forward_hook(lambda module, args, output: held.append(output))
    assert peak(model, forward, ops=None) > bare * 1.01


def left_to_the_collector(runs: int) -> int:
    """How many objects of a recording that is over, and whose trace is gone, only the garbage collector finds."""
    model = nn.Sequential(Block(32), Block(32))
    forward(model)
    gc.disable()
    gc.freeze()  # so that it looks at nothing else
    try:
        with fwdtrace.record(model, ops=True) as recording:
            for _ in range(runs):
                forward(model)
        assert len(recording.trace.ops or ()) == 10 * runs
        del recording
        return gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()


def test_what_was_noted_goes_when_the_recording_ends_and_not_when_python_looks_for_circles() -> None:
    left_to_the_collector(1)
    assert left_to_the_collector(8) == left_to_the_collector(1)


def test_parameters_are_swapped_while_a_recording_runs_and_are_still_known() -> None:
    class Converts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            before = x * self.layer.weight
            torch.utils.swap_tensors(self.layer.weight, nn.Parameter(torch.zeros(4, 4)))
            return before + x * self.layer.weight

    model = Converts()
    with fwdtrace.record(model, ops=True) as recording:
        assert not torch.equal(model(torch.ones(4, 4)), model(torch.ones(4, 4)))
        torch.utils.swap_tensors(model.layer.bias, nn.Parameter(torch.ones(4)))
    weights = [op.inputs[1] for op in recording.trace.ops or () if op.name == "*"]
    assert len(weights) == 4
    assert all(isinstance(leaf, TensorMeta) and leaf.source == Source(parameter="layer.weight") for leaf in weights)
