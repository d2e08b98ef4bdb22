"""`torchrun … -m fwdtrace exec` over gloo: a file for each rank, where the ranks differ, and calls past a wrapper."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fwdtrace import load_trace
from fwdtrace.trace import TensorMeta, Trace
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
rank, size = dist.get_rank(), dist.get_world_size()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.b = nn.Linear(8, 2)

    def forward(self, x):
        x = torch.relu(self.a(x)) if self.a else x
        return self.b(x) if self.b else x

    def encode(self, x):
        return self.a(x)


def sharded(mode, net):
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh("cpu", (size,))
    if mode == "parts":
        fully_shard(net.b, mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.bfloat16))
    net = fully_shard(net, mesh=mesh)
    if mode == "registered":
        register_fsdp_forward_method(net, "encode")
    return net


def tensor_parallel(net):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("data", "tensor"))
    plan = {"a": ColwiseParallel(use_local_output=False), "b": RowwiseParallel()}
    net = parallelize_module(net, mesh["tensor"], plan)
    return fully_shard(net, mesh=mesh["data"]) if size > 2 else net


def run_stages(net):
    from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

    mesh = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("data", "pipe"))
    index = mesh["pipe"].get_local_rank()
    setattr(net, "a" if index else "b", None)
    if size > 2:
        net = nn.parallel.DistributedDataParallel(net, process_group=mesh["data"].get_group())
    stage = PipelineStage(net, index, 2, torch.device("cpu"), group=mesh["pipe"].get_group())
    schedule = ScheduleGPipe(stage, n_microbatches=3, loss_fn=nn.functional.mse_loss)
    schedule.step(*(() if index else (torch.randn(6, 4),)), **({"target": torch.ones(6, 2)} if index else {}))


for mode in sys.argv[1:]:
    torch.manual_seed(0)
    net = type(mode.title(), (Net,), {})()
    x = torch.randn(5 + (rank if mode in ("ragged", "bypass") else 0), 4)
    if mode in ("tensor", "stages", "fsdp", "parts", "past_fsdp", "registered"):  # imports of seconds
        from torch.distributed.device_mesh import init_device_mesh
    if mode == "tensor":
        net = tensor_parallel(net)
    elif mode in ("fsdp", "parts", "past_fsdp", "registered"):
        net = sharded(mode, net)
    elif mode != "stages":
        net = nn.parallel.DistributedDataParallel(net)
    if mode == "bypass":
        with torch.no_grad():
            net.module(x)
        net.module.encode(x).sum().backward()
    elif mode == "past":
        net.module(x).sum().backward()
    elif mode == "two":
        critic = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
        for _ in range(2):
            critic(net(x)[rank:]).sum().backward()
        if rank == 1:
            nn.Bilinear(2, 2, 1)(torch.ones(1, 2), torch.ones(1, 2))
        time.sleep(rank)
    elif mode == "parts":
        with torch.no_grad():
            net(x)
        net(x).float().square().mean().backward()
    elif mode in ("past_fsdp", "registered"):
        try:
            net.encode(x).sum().backward()
        except RuntimeError as error:
            print("raised in", mode, flush=True)
    elif mode == "stages":
        run_stages(net)
    else:
        net(x).square().mean().backward()
dist.destroy_process_group()
"""
"""Each mode is a model of a class of that name, which is wrapped and called in that way."""


# Without fwdtrace, too, torch 2.13.0 aborts a process of this script when it ends in 5 of 25 runs.
ABORTED_AT_EXIT = "terminate called without an active exception"
ATTEMPTS = 4


def launch(modes: str, folder: Path, processes: int = 2, *options: str) -> tuple[str, list[str]]:
    """Stdout, and what fwdtrace said of the ranks, numbers of times left out."""
    (folder / "train.py").write_text(SCRIPT, encoding="utf-8")
    command = ["-m", "fwdtrace", "exec", *options, "train.py", *modes.split()]
    out, err = texts_of(lambda: start_ranks(processes, command, folder))
    return out, said_of(err, processes)


@dataclass(frozen=True)
class Together:
    """What comes of one launch in which a program has a model of each of several modes."""

    folder: Path
    out: str
    said: list[str]

    def trace(self, mode: str, rank: int) -> Trace:
        """The trace of the model of this mode."""
        found = [load_trace(file) for file in self.folder.glob(f"train.rank{rank}*.json")]
        (trace,) = (trace for trace in found if trace.model.class_name.endswith(mode.title()))
        return trace

    def said_of(self, mode: str) -> list[str]:
        """What is said of the model of this mode, where it is not the first."""
        name = f"train.{mode.title()}: "
        return [line.removeprefix(name) for line in self.said if line.startswith(name)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    folder = tmp_path_factory.mktemp("together")
    return Together(folder, *launch("parts past_fsdp registered tensor stages", folder))


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
def test_all_models_and_calls_of_the_ranks_are_set_side_by_side_when_the_last_has_ended(tmp_path: Path) -> None:
    (tmp_path / "train.rank0.Old.json").touch()  # of an earlier run
    _, said = launch("two", tmp_path, 2, "--first", "2")
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
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.sweep
def test_the_ops_that_fsdp_runs_around_a_call_are_none_of_the_model(together: Together) -> None:
    assert [op.name for op in together.trace("parts", 0).ops or ()] == ["torch.relu"]


@pytest.mark.sweep
@pytest.mark.parametrize(("mode", "times"), [("past_fsdp", 1), ("registered", 0)])
def test_a_method_past_fsdp_is_named_unless_it_is_registered(mode: str, times: int, together: Together) -> None:
    assert together.out.count(f"raised in {mode}") == 2 * times
    found = [each for each in together.trace(mode, 0).findings if each.code == "FT002"]
    assert len(found) == times
    assert all("register_fsdp_forward_method" in finding.message for finding in found)


@pytest.mark.sweep
def test_the_stages_of_a_pipeline_are_shown_for_what_they_are(together: Together) -> None:
    assert_shown_as_stages(together.said_of("stages"), [together.trace("stages", rank) for rank in (0, 1)])


@pytest.mark.long
def test_the_stages_of_two_pipelines_are_shown_for_what_they_are(tmp_path: Path) -> None:
    _, said = launch("stages", tmp_path, 4)
    assert_shown_as_stages(said, [load_trace(tmp_path / f"train.rank{rank}.json") for rank in range(4)])


def assert_shown_as_stages(said: list[str], traces: list[Trace]) -> None:
    wrapped = len(traces) > 2
    inside, root = ("module.", "DistributedDataParallel") if wrapped else ("", "Stages")
    other = [
        f"no call {inside}a, which rank 0 made",
        f"{root} input 2×8, on rank 0 2×4",
        *(["module input 2×8, on rank 0 2×4"] if wrapped else []),
        f"call {inside}b, which rank 0 did not make",
    ]
    assert said == [
        *(f"rank {rank}: {line}" for rank in range(1, len(traces), 2) for line in other),
        *(["like rank 0: 2"] if wrapped else []),
        "time: T … T",
    ]
    for rank, trace in enumerate(traces):
        assert [call.path for call in trace.calls][-1] == inside + ("b" if rank % 2 else "a")
        assert "FT002" not in {finding.code for finding in trace.findings}


@pytest.mark.sweep
def test_a_distributed_tensor_has_its_placements_and_both_its_shapes(together: Together) -> None:
    assert_placed(together.said_of("tensor"), [together.trace("tensor", rank) for rank in (0, 1)])


@pytest.mark.long
def test_a_distributed_tensor_of_a_sharded_model_has_its_placements_and_both_its_shapes(tmp_path: Path) -> None:
    _, said = launch("tensor", tmp_path, 4)
    assert_placed(said, [load_trace(tmp_path / f"train.rank{rank}.json") for rank in range(4)])


def assert_placed(said: list[str], traces: list[Trace]) -> None:
    assert said == [f"{len(traces)} ranks made the same calls with the same shapes", "time: T … T"]
    for trace in traces:
        (leaf,) = trace.at("a")[0].outputs
        assert isinstance(leaf, TensorMeta) and leaf.source is not None
        assert replace(leaf, source=None) == TensorMeta(
            "", (5, 8), "float32", "cpu", True, "strided", None, ("Shard(dim=1)",), (5, 4)
        )
        assert trace.model.class_name.endswith("FSDPTensor" if len(traces) > 2 else "Tensor")
