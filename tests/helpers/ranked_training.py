"""A small net trained by one process or by several over gloo, in ways that are right or wrong; its runs as saved."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fwdtrace.compare.programs.saved_numbers import save_values
from fwdtrace.program.kept import KeptCall
from fwdtrace.program.traces import ProgramTraces
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options

WIDTH = 24


class Layer(nn.Module):
    def __init__(self, norm: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm, self.up, self.act = norm, nn.Linear(WIDTH, 2 * WIDTH), nn.GELU()
        self.down, self.drop = nn.Linear(2 * WIDTH, WIDTH), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.drop(self.down(self.act(self.up(self.norm(x)))))
        return output


class Net(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        norm = nn.BatchNorm1d if fault == "statistics" else nn.LayerNorm
        dropout = 0.2 if "dropout" in fault else 0.0
        self.layers = nn.ModuleList(Layer(norm(WIDTH), dropout) for _ in range(2))
        self.head = nn.Linear(WIDTH, 4)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        output: Tensor = self.head(x) * self.scale
        return output


def built(way: str, fault: str, rank: int, size: int) -> nn.Module:
    """The net as the way shards or wraps it, with what is wrong with it on rank 1."""
    torch.manual_seed(7 if fault == "other weights" and rank == 1 else 0)
    net: Any = Net(fault)
    if fault == "other buffer" and rank == 1:
        net.scale.fill_(1.5)
    if fault.endswith("other activation") and rank == 1:
        net.layers[1].act = nn.GELU("tanh")
    if fault.startswith("evaluation") and rank == 1:
        net.eval()
    if fault == "frozen" and rank == 1:
        net.layers[0].up.bias.requires_grad_(False)
    if way == "ddp":
        return nn.parallel.DistributedDataParallel(net)
    if way in ("fsdp", "fsdp-tp"):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(
            "cpu",
            (size,) if way == "fsdp" else (size // 2, 2),
            mesh_dim_names=("dp", "tp")[: 1 if way == "fsdp" else 2],
        )
        if way == "fsdp-tp":
            parallelized(net, mesh["tp"])
        for layer in net.layers:
            fully_shard(layer, mesh=mesh["dp"])
        fully_shard(net, mesh=mesh["dp"])
        if fault == "dropped shard" and rank == 1:
            with torch.no_grad():
                net.layers[0].up.weight._local_tensor.zero_()
        if fault == "other element" and rank == 1:
            with torch.no_grad():  # one that is in no sample of the whole
                net.layers[0].up.weight._local_tensor[0, 1] += 0.5
    if way == "tp":
        from torch.distributed.device_mesh import init_device_mesh

        parallelized(net, init_device_mesh("cpu", (size,)))
        if fault == "no sum":
            net.layers[1].down._forward_hooks.clear()
            net.layers[1].down.register_forward_hook(lambda module, args, output: output.to_local())
    return net


def parallelized(net: Any, mesh: Any) -> None:
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    for layer in net.layers:
        parallelize_module(layer, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def examples(step: int, way: str, fault: str, rank: int, size: int) -> tuple[Tensor, Tensor]:
    """The part of the batch that a rank gets."""
    chance = torch.Generator().manual_seed(step)
    x, y = torch.randn(8, WIDTH, generator=chance), torch.randn(8, 4, generator=chance)
    if way in ("single", "tp"):
        return x, y
    parts, mine = (size, rank) if way != "fsdp-tp" else (size // 2, rank // 2)
    if fault == "other targets":
        y = y.flip(0)
    if fault.startswith("same data"):
        mine = 0
    return (x[mine::parts], y[mine::parts]) if fault == "interleaved" else (x.chunk(parts)[mine], y.chunk(parts)[mine])


def train(way: str, fault: str, rank: int, size: int, parts: int = 1) -> None:
    """Three steps; `parts` are the small batches of a step."""
    net = built(way, fault, rank, size)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2 if fault == "other rate" and rank == 1 else 0.1)
    torch.manual_seed(rank if fault == "other dropout" else 0)
    for step in range(3):
        x, y = examples(step, way, fault, rank, size)
        for part_x, part_y in zip(x.chunk(parts), y.chunk(parts), strict=True):
            loss = (net(part_x) - part_y).square().mean() / parts
            scaled = fault == "scaled loss" or (fault == "scaled loss of one" and rank == 1)
            (loss * size if scaled else loss).backward()
        if way == "by hand" and fault != "no sum of gradients":
            for name, parameter in net.named_parameters():
                gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                if fault == "one not summed" and name == "layers.1.down.weight":
                    continue
                dist.all_reduce(gradient)
                gradient /= size
        optimizer.step()
        optimizer.zero_grad()


def saved(folder: Path, name: str, run: Callable[[], None]) -> None:
    """Run, and save the first calls with all their numbers, as `exec` does."""
    files, program = [folder / f"{name}.json"], uuid.uuid4().hex

    def save(trace: Any, file: Path) -> bool:
        trace.save(file)
        return True

    traces = ProgramTraces(
        files, save, folder / f"{name}.safetensors", lambda values, file: save_values(values.sides, file, values)
    )

    def keep(kept: KeptCall) -> bool:
        trace = replace(kept.trace, run=replace(kept.trace.run, program=program))
        traces.add(kept.root, kept.round, trace, kept.values)
        return False

    watch = Watch(Wanted(first=6), Options(ops=True, gradients=True), keep, max_bytes=2**30)
    watch.begin()
    try:
        run()
    finally:
        watch.end()
    traces.end()


def rank_main(rank: int, size: int, folder: str, port: int, variants: list[tuple[str, str]]) -> None:
    """One process of several, which meet at this port: train in all ways, one after the other."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size))
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, None, False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    for way, fault in variants:
        name = f"{way} {fault}".strip().replace(" ", "-")
        saved(Path(folder), f"{name}.rank{rank}", lambda way=way, fault=fault: train(way, fault, rank, size))  # type: ignore[misc]
    dist.destroy_process_group()
