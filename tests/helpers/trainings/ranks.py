"""Ranks that train by DDP, FSDP2 or tensor parallelism, or by each in turn; one batch goes wrong in three ways."""

from __future__ import annotations

import argparse
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.helpers.trainings.common import arguments, report, steps


class Net(nn.Module):
    """Layers with dropout, and a scale that is a part of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(16, 2)

    def forward(self, x: Tensor, scale: Tensor, shown: Tensor) -> Tensor:
        """`shown` is 0 where a row is to be left out."""
        h = self.last(self.drop(self.first(x).relu()))
        h = h / scale  # forward
        return h + (h * shown).square().sum(1, keepdim=True).sqrt()  # backward


def parallel(name: str) -> nn.Module:
    """The model, in the way of this name."""
    if name == "ddp":
        return nn.parallel.DistributedDataParallel(Net())
    from torch.distributed.device_mesh import init_device_mesh  # seconds, for who needs it

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if name == "fsdp":
        from torch.distributed.fsdp import fully_shard

        return fully_shard(Net(), mesh=mesh)
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan = {"first": ColwiseParallel(), "last": RowwiseParallel()}
    return parallelize_module(Net(), mesh, plan)  # type: ignore[arg-type]


def train(options: argparse.Namespace, way: str) -> None:
    """Train it in a way; with tensor parallelism all ranks have the same batch."""
    model = parallel(way)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    same = way == "tensor"
    torch.manual_seed(0 if same else dist.get_rank())
    for step, wrong in steps(options):
        x, scale, shown = torch.randn(4, 6), torch.ones(4, 1), torch.ones(4, 1)
        if same or dist.get_rank() == int(options.rank):
            scale[2] -= float(wrong in ("forward", "evaluation"))
            shown[2] -= float(wrong == "backward")
        if wrong == "evaluation":
            with torch.no_grad():
                model(x, scale, shown)
            scale.fill_(1)
        loss = model(x, scale, shown).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss, model)


if __name__ == "__main__":
    own = arguments(parallel="ddp", rank="1")
    dist.init_process_group("gloo", os.environ["MEETING"])
    for way in own.parallel.split():
        for own.plant in ("forward", "backward", "evaluation"):
            # DDP must be gone before the group: else it may wait for a thread of gloo forever, watched or not.
            train(own, way)
    dist.destroy_process_group()
