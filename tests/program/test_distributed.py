"""`torchrun … -m fwdtrace exec` over gloo: a file for each rank, where the ranks differ, and calls past a wrapper."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fwdtrace import load_trace
from fwdtrace.trace import TensorMeta
from tests.helpers.ranks import ends, start, start_ranks

SCRIPT = """\
import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn

torch.set_num_threads(1)
dist.init_process_group("gloo", os.environ.get("MEETING"))
torch.manual_seed(0)
mode = sys.argv[1]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.b = nn.Linear(8, 2)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))

    def encode(self, x):
        return self.a(x)


x = torch.randn(5 + (dist.get_rank() if mode in ("ragged", "bypass") else 0), 4)
if mode.startswith(("fsdp", "tensor")):  # imports of seconds
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
if mode.startswith("fsdp"):
    net, mesh = Net(), init_device_mesh("cpu", (dist.get_world_size(),))
    if mode == "fsdp-parts":
        fully_shard(net.b, mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.bfloat16))
    net = fully_shard(net, mesh=mesh)
    if mode == "fsdp-registered":
        register_fsdp_forward_method(net, "encode")
elif mode.startswith("tensor"):
    size = dist.get_world_size()
    mesh = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("data", "tensor"))
    plan = {"a": ColwiseParallel(use_local_output=False), "b": RowwiseParallel()}
    net = parallelize_module(Net(), mesh["tensor"], plan)
    if size > 2:
        net = fully_shard(net, mesh=mesh["data"])
else:
    net = nn.parallel.DistributedDataParallel(Net())
if mode == "bypass":
    with torch.no_grad():
        net.module(x)
    net.module.encode(x).sum().backward()
elif mode == "past":
    net.module(x).sum().backward()
elif mode == "late":
    net(x).sum().backward()
    time.sleep(dist.get_rank())
    net.module.encode(x)
elif mode == "two":
    critic = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
    for _ in range(2):
        critic(net(x)[dist.get_rank():]).sum().backward()
    if dist.get_rank() == 1:
        nn.Bilinear(2, 2, 1)(torch.ones(1, 2), torch.ones(1, 2))
elif mode == "fsdp-parts":
    with torch.no_grad():
        net(x)
    net(x).float().square().mean().backward()
elif mode in ("fsdp-bypass", "fsdp-registered"):
    try:
        net.encode(x).sum().backward()
    except RuntimeError as error:
        print("raised", flush=True)
else:
    net(x).square().mean().backward()
print(float(sum(p.sum() for p in Net().parameters())).hex(), flush=True)
dist.destroy_process_group()
"""


PIPELINE = """\
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

torch.set_num_threads(1)
dist.init_process_group("gloo", os.environ.get("MEETING"))
torch.manual_seed(0)
mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("data", "pipe"))
index = mesh["pipe"].get_local_rank()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.b = nn.Linear(8, 2)

    def forward(self, x):
        x = self.a(x) if self.a else x
        return self.b(x) if self.b else x


net = Net()
setattr(net, "a" if index else "b", None)
if dist.get_world_size() > 2:
    net = nn.parallel.DistributedDataParallel(net, process_group=mesh["data"].get_group())
stage = PipelineStage(net, index, 2, torch.device("cpu"), group=mesh["pipe"].get_group())
schedule = ScheduleGPipe(stage, n_microbatches=3, loss_fn=nn.functional.mse_loss)
x = torch.randn(6, 4)
schedule.step(*(() if index else (x,)), **({"target": torch.ones(6, 2)} if index else {}))
print(float(sum(p.grad.abs().sum() for p in net.parameters())).hex(), flush=True)
dist.destroy_process_group()
"""


# Without fwdtrace, too, torch 2.13.0 aborts a process of this script when it ends in 5 of 25 runs.
ABORTED_AT_EXIT = "terminate called without an active exception"
ATTEMPTS = 4


def launch(mode: str, folder: Path, processes: int = 2, script: str = SCRIPT, *options: str) -> tuple[str, list[str]]:
    """Stdout, and what fwdtrace said of the ranks, numbers of times left out."""
    (folder / "train.py").write_text(script, encoding="utf-8")
    command = ["-m", "fwdtrace", "exec", *options, "train.py", mode]
    out, err = texts_of(lambda: start_ranks(processes, command, folder))
    return out, said_of(err, processes)


def texts_of(begin: Callable[[], list[subprocess.Popen[str]]]) -> tuple[str, str]:
    """All that processes write to stdout and to stderr, begun again as long as torch aborts one of them."""
    for _ in range(ATTEMPTS):
        outcomes = ends(begin())
        if not any(outcome.status and ABORTED_AT_EXIT in outcome.err for outcome in outcomes):
            break
    assert [outcome.err for outcome in outcomes if outcome.status] == []
    return "".join(outcome.out for outcome in outcomes), "".join(outcome.err for outcome in outcomes)


def said_of(err: str, processes: int) -> list[str]:
    """What fwdtrace said of the ranks, without what it said of the models and the files."""
    said = [line for line in err.splitlines() if line.startswith("fwdtrace: ")]
    saved = f"fwdtrace: saved train.rank0.json, … train.rank{processes - 1}.json"
    assert any(line.startswith(saved) for line in said), said
    said = [line for line in said if not re.search(r"(?<!rank \d): call|: saved ", line)]
    return [re.sub(r"\d[\d.]* ms on rank \d", "T", line.removeprefix("fwdtrace: ")) for line in said]


@pytest.mark.parametrize("mode", ["ddp", pytest.param("fsdp", marks=pytest.mark.long)])
def test_under_torchrun_each_rank_leaves_a_file_and_one_rank_speaks(mode: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    _, err = texts_of(lambda: [start([*torchrun, "-m", "fwdtrace", "exec", "train.py", mode], tmp_path)])
    said = said_of(err, 2)
    assert said == ["2 ranks made the same calls with the same shapes", "time: T … T"]
    traces = [load_trace(tmp_path / f"train.rank{rank}.json") for rank in (0, 1)]
    assert [trace.run.rank for trace in traces] == [0, 1]
    assert all("FT002" not in {finding.code for finding in trace.findings} for trace in traces)


@pytest.mark.sweep
def test_the_ops_that_fsdp_runs_around_a_call_are_none_of_the_model(tmp_path: Path) -> None:
    launch("fsdp-parts", tmp_path)
    assert [op.name for op in load_trace(tmp_path / "train.rank0.json").ops or ()] == ["torch.relu"]


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 4])
def test_another_shape_on_a_rank_is_told(processes: int, tmp_path: Path) -> None:
    _, said = launch("ragged", tmp_path, processes)
    assert said[:2] == [
        "rank 1: DistributedDataParallel input 6×4, on rank 0 5×4",
        "rank 1: module input 6×4, on rank 0 5×4",
    ]
    last = processes - 1
    assert said[-2:] == [f"rank {last}: module.b input {5 + last}×8, on rank 0 5×8", "time: T … T"]


def test_another_shape_is_told_and_a_call_past_ddp_named_with_its_line_unless_nothing_is_trained(
    tmp_path: Path,
) -> None:
    _, said = launch("bypass", tmp_path)
    assert any(line.endswith("rank 1: module input 6×4, on rank 0 5×4") for line in said), said
    trace = load_trace(tmp_path / "train.rank1.call1.json")
    found = [finding for finding in trace.findings if finding.code == "FT002"]
    assert [finding.message for finding in found] == [
        "module.a was called past DistributedDataParallel: the gradients of this call are not synchronised between "
        "ranks; call the wrapper itself, and let forward choose what else there is to do"
    ]
    assert found[0].site is not None
    assert (found[0].site.line, found[0].site.code) == (25, "return self.a(x)")
    evaluated = load_trace(tmp_path / "train.rank1.json")
    assert [call.path for each in (evaluated, trace) for call in each.children()] == ["module", "module.a"]
    assert "FT002" not in {finding.code for finding in evaluated.findings}


@pytest.mark.long
def test_the_module_in_ddp_called_alone_is_named_with_its_line(tmp_path: Path) -> None:
    launch("past", tmp_path)
    trace = load_trace(tmp_path / "train.rank0.json")
    (found,) = (finding for finding in trace.findings if finding.code == "FT002")
    assert "gradients of this call are not synchronised" in found.message
    assert found.site is not None and found.site.code == "net.module(x).sum().backward()"


@pytest.mark.sweep
def test_a_rank_that_ends_later_is_waited_for(tmp_path: Path) -> None:
    _, said = launch("late", tmp_path)
    assert said == ["2 ranks made the same calls with the same shapes", "time: T … T"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.sweep
def test_all_models_and_calls_of_the_ranks_are_set_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "train.rank0.Old.json").touch()  # of an earlier run
    _, said = launch("two", tmp_path, 2, SCRIPT, "--first", "2")
    same = "2 ranks made the same calls with the same shapes"
    shapes = [
        "rank 1: DistributedDataParallel input 4×2, on rank 0 5×2",
        "rank 1: module input 4×2, on rank 0 5×2",
        "time: T … T",
    ]
    critic = "train.DistributedDataParallel"
    assert said == [
        *(f"train: {line}" for line in (same, "time: T … T")),
        *(f"{critic}: {line}" for line in shapes),
        *(f"{critic}.call2: {line}" for line in shapes),
        *(f"train.call2: {line}" for line in (same, "time: T … T")),
        "train.Bilinear: rank 0: no such call was kept",
    ]


@pytest.mark.parametrize(
    "processes", [pytest.param(2, marks=pytest.mark.sweep), pytest.param(4, marks=pytest.mark.long)]
)
def test_the_stages_of_a_pipeline_are_shown_for_what_they_are(processes: int, tmp_path: Path) -> None:
    _, said = launch("", tmp_path, processes, PIPELINE)
    wrapped = processes > 2
    inside, root = ("module.", "DistributedDataParallel") if wrapped else ("", "Net")
    other = [
        f"no call {inside}a, which rank 0 made",
        f"{root} input 2×8, on rank 0 2×4",
        *(["module input 2×8, on rank 0 2×4"] if wrapped else []),
        f"call {inside}b, which rank 0 did not make",
    ]
    assert said == [
        *(f"rank {rank}: {line}" for rank in range(1, processes, 2) for line in other),
        *(["like rank 0: 2"] if wrapped else []),
        "time: T … T",
    ]
    for rank in range(processes):
        trace = load_trace(tmp_path / f"train.rank{rank}.json")
        assert [call.path for call in trace.calls][-1] == inside + ("b" if rank % 2 else "a")
        assert "FT002" not in {finding.code for finding in trace.findings}


@pytest.mark.sweep
@pytest.mark.parametrize(("mode", "times"), [("fsdp-bypass", 1), ("fsdp-registered", 0)])
def test_a_method_past_fsdp_is_named_unless_it_is_registered(mode: str, times: int, tmp_path: Path) -> None:
    out, _ = launch(mode, tmp_path)
    assert out.count("raised") == 2 * times
    found = [each for each in load_trace(tmp_path / "train.rank0.json").findings if each.code == "FT002"]
    assert len(found) == times
    assert all("register_fsdp_forward_method" in finding.message for finding in found)


@pytest.mark.parametrize(
    "processes", [pytest.param(2, marks=pytest.mark.sweep), pytest.param(4, marks=pytest.mark.long)]
)
def test_a_distributed_tensor_has_its_placements_and_both_its_shapes(processes: int, tmp_path: Path) -> None:
    _, said = launch("tensor", tmp_path, processes)
    assert said == [f"{processes} ranks made the same calls with the same shapes", "time: T … T"]
    for rank in range(processes):
        trace = load_trace(tmp_path / f"train.rank{rank}.json")
        (leaf,) = trace.at("a")[0].outputs
        assert isinstance(leaf, TensorMeta) and leaf.source is not None
        assert replace(leaf, source=None) == TensorMeta(
            "", (5, 8), "float32", "cpu", True, "strided", None, ("Shard(dim=1)",), (5, 4)
        )
        assert trace.model.class_name.endswith("FSDPNet" if processes > 2 else "Net")
