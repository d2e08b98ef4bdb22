"""A trace knows how large its model is: trainable parameters, and the bytes of parameters and buffers, each once."""

from __future__ import annotations

import torch
from torch import nn

import fwdtrace
from fwdtrace.recorder.tree import Sizes, sizes_of
from tests.helpers.commands import Command


class Tied(nn.Module):
    """Two layers with one weight, one of them with a frozen bias, and buffers of two types."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.first.bias.requires_grad_(False)
        self.norm = nn.BatchNorm1d(4, dtype=torch.bfloat16)
        self.register_buffer("nothing", None)
        self.norm.again = self.norm  # a module that is in itself

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.second(self.first(x)).bfloat16())


def test_what_is_shared_is_counted_once_and_what_is_frozen_is_not_trainable() -> None:
    sizes = sizes_of(Tied())
    assert (sizes.trainable, sizes.parameter_bytes, sizes.buffer_bytes) == (16 + 8, (16 + 4) * 4 + 8 * 2, 8 * 2 + 8)


def test_what_is_not_initialised_has_no_size_yet() -> None:
    lazy = nn.LazyBatchNorm1d()
    assert sizes_of(lazy) == Sizes({id(lazy): 0}, 0, 0, 8), "the counter of batches is there"
    with fwdtrace.record(lazy) as recording:
        lazy(torch.ones(2, 3))
    assert (recording.trace.model.trainable, recording.trace.model.parameter_bytes) == (6, 24)


def test_a_model_on_meta_has_the_same_totals(command: Command) -> None:
    here, meta = (command("run", "lenet", "--costs", "--depth", "0", "--device", name).out for name in ("cpu", "meta"))
    for text in (here, meta):
        assert "62,006 trainable · 0.25 MB parameters · 0.06 MB activations" in text
        assert "1.3M FLOPs, 651.7k multiply-adds" in text
