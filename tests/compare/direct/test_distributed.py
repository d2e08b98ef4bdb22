"""What DDP, FSDP2 and tensor parallelism lose by a direct call, measured over two processes of gloo on one machine."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from fwdtrace.compare.direct.comparison import DirectComparison
from fwdtrace.compare.direct.experiment import compare_direct
from tests.helpers.commands import REPOSITORY
from tests.helpers.forks import run_ranks

RANKS = 2


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.b(torch.relu(self.a(x))))
        return out


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.relu(self.a(x)))
        return out

    def encode(self, x: Tensor) -> Tensor:
        out: Tensor = self.a(x)
        return out

    def other(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x))
        return out


def wrapped() -> nn.Module:
    return nn.parallel.DistributedDataParallel(Pair(), broadcast_buffers=False)


def replicated() -> nn.Module:
    from torch.distributed._composable.replicate import replicate

    model: nn.Module = replicate(Plain())
    return model


def sharded() -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (RANKS,))
    model = Plain()
    fully_shard(model.a, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def gathered_already() -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = Plain()
    fully_shard(model, mesh=init_device_mesh("cpu", (RANKS,)), reshard_after_forward=False)
    model(torch.ones(1, 4))
    return model


def sharded_by_wrapper() -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(Plain(), device_id=torch.device("cpu"))


def sharded_with_another_entry() -> nn.Module:
    from torch.distributed.fsdp import register_fsdp_forward_method

    model = sharded()
    register_fsdp_forward_method(model, "forward")
    return model


def parallel() -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (RANKS,))
    return parallelize_module(Plain(), mesh, {"a": ColwiseParallel(), "b": RowwiseParallel()})


def prepared_inputs() -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import PrepareModuleInput, parallelize_module

    mesh = init_device_mesh("cpu", (RANKS,))
    plan = PrepareModuleInput(input_layouts=(Shard(0),), desired_input_layouts=(Replicate(),), use_local_output=True)
    return parallelize_module(Plain(), mesh, plan)


def everything(rank: int) -> dict[str, DirectComparison]:
    """All comparisons of one rank; every rank has data of its own, except where the tensors themselves are spread."""
    own = torch.randn(6, 4, generator=torch.Generator().manual_seed(rank))
    common = torch.randn(6, 4, generator=torch.Generator().manual_seed(9))
    return {
        "ddp": compare_direct(wrapped, own),
        "ddp module": compare_direct(wrapped, own, at=["module"]),
        "ddp child": compare_direct(wrapped, own, at=["module.a"]),
        "replicate": compare_direct(replicated, own),
        "fsdp": compare_direct(sharded, own),
        "fsdp group": compare_direct(sharded, own, at=["a"]),
        "fsdp no group": compare_direct(sharded, own, at=["b"]),
        "fsdp registered": compare_direct(sharded_with_another_entry, own),
        "fsdp gathered": compare_direct(gathered_already, own),
        "fsdp wrapper": compare_direct(sharded_by_wrapper, own),
        "fsdp wrapped": compare_direct(sharded_by_wrapper, own, at=["module"]),
        "tp": compare_direct(parallel, common),
        "tp child": compare_direct(parallel, common, at=["a"]),
        "tp inputs": compare_direct(prepared_inputs, own[:2]),
    }


def synchronised(rank: int) -> dict[str, bool]:
    """Whether the gradients of the ranks are the same after DDP was used in some other way than `ddp(x)` alone."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(rank))

    def other(ddp: Any) -> None:
        ddp.module.other(x).sum().backward()

    def other_after_a_step(ddp: Any) -> None:
        ddp(x).sum().backward()
        ddp.zero_grad()
        ddp.module.other(x).sum().backward()

    def both_in_one_backward(ddp: Any) -> None:
        (ddp(x).sum() + ddp.module.other(x).sum()).backward()

    def other_after_a_forgotten_call(ddp: Any) -> None:
        ddp(x)
        ddp.module.other(x).sum().backward()

    found = {}
    for use in (other, other_after_a_step, both_in_one_backward, other_after_a_forgotten_call):
        torch.manual_seed(0)
        ddp = nn.parallel.DistributedDataParallel(Plain())
        use(ddp)
        gradient = ddp.module.a.weight.grad
        gathered = [torch.empty_like(gradient) for _ in range(RANKS)]
        dist.all_gather(gathered, gradient)
        found[use.__name__] = torch.equal(*gathered)
    return found


def work(rank: int, folder: str) -> None:
    """What each process does: compare everything and leave the results, or a traceback, in a file."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    result: object
    try:
        result = {**everything(rank), "synchronised": synchronised(rank)}
    except Exception:  # the test that asks for the results shows it
        result = traceback.format_exc()
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(result))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = str(tmp_path_factory.mktemp("ranks"))
    run_ranks(work, RANKS, folder)
    results = [pickle.loads(Path(folder, f"{rank}.pickle").read_bytes()) for rank in range(RANKS)]
    for result in results:
        assert isinstance(result, dict), result
    return results


def test_ddp_run_directly_still_synchronises(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["ddp"].equal
        (experiment,) = rank["ddp"].experiments
        (measure,) = [each for each in experiment.rounds[0].measures if each.what == "gradients on all ranks"]
        assert (measure.called, measure.direct, measure.same) == ("all equal", "all equal", True)


def test_the_module_inside_ddp_does_not_synchronise_its_gradients(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        comparison = rank["ddp module"]
        (first, *_) = [each for each in comparison.differences if each.kind == "unsynchronised"]
        assert first.severity == "gradients"
        assert first.message.startswith("gradients are not synchronised: of 6 parameters, ")
        assert "another gradient on each rank after model.module.forward(x), none after model(x)" in first.message
        assert "as it skips DistributedDataParallel" in comparison.verdict
        assert {each.round for each in comparison.differences if each.kind == "gradient"} == {
            "first step",
            "second step",
        }
        assert comparison.fix.endswith("let other methods go through the wrapper too, by an argument of its forward")


def test_a_child_that_ddp_reaches_by_forward_is_synchronised(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["ddp child"].equal for rank in ranks)


def test_composable_replicate_does_not_synchronise(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert "gradients are not synchronised" in rank["replicate"].verdict
        assert "as it skips replicate (DDP)" in rank["replicate"].verdict


@pytest.mark.parametrize(("name", "entry"), [("fsdp", "model.forward(x)"), ("fsdp group", "a.forward(x)")])
def test_a_shard_group_that_is_run_directly_is_not_gathered(ranks: list[dict[str, Any]], name: str, entry: str) -> None:
    for rank in ranks:
        worst = rank[name].differences[0]
        assert worst.severity == "exception" and "got mixed torch.Tensor and DTensor" in worst.after
        assert rank[name].verdict.startswith(
            f"{entry} fails where {entry.replace('.forward', '')} works, as it skips FSDP"
        )
        assert "register_fsdp_forward_method" in rank[name].fix


def test_a_child_that_is_no_shard_group_of_its_own_is_the_same(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["fsdp no group"].equal for rank in ranks)


def test_a_model_that_is_gathered_already_gets_local_gradients(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        first = [each for each in rank["fsdp gathered"].differences if each.round == "first step"]
        assert {each.kind for each in first} >= {"gradient"} and "output" not in {each.kind for each in first}


def test_the_module_inside_the_fsdp_wrapper_is_not_gathered(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["fsdp wrapper"].equal
        worst = rank["fsdp wrapped"].differences[0]
        assert worst.severity == "exception" and worst.after.startswith("RuntimeError in forward: ")


def test_ddp_synchronises_what_its_own_forward_armed(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["synchronised"] == {
            "other": False,
            "other_after_a_step": False,
            "both_in_one_backward": True,
            "other_after_a_forgotten_call": True,
        }


@pytest.mark.sweep
def test_the_command_speaks_once_under_torchrun(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch.distributed as dist\nfrom torch import nn\n"
        "def build():\n"
        "    if not dist.is_initialized():\n        dist.init_process_group('gloo')\n"
        "    return nn.parallel.DistributedDataParallel(nn.Linear(16, 4))\n",
        encoding="utf-8",
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    compare = ["-m", "fwdtrace", "compare", "net.py:build", "--direct-forward", "--at", "module", "-i", "8x16"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    ran = subprocess.run([*launch, *compare], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    shown = " ".join(ran.stdout.split())
    assert shown.count("model.module.forward(x) does not train what model(x) trains") == 1, ran.stderr
    assert "of 2 parameters, 1 has another gradient on each rank" in shown


def test_a_registered_forward_method_mends_fsdp(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        severities = {each.severity for each in rank["fsdp registered"].differences}
        assert not severities & {"numbers", "gradients", "exception"}


def test_a_tensor_parallel_child_that_is_run_directly_fails(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["tp"].equal
        assert "got mixed torch.Tensor and DTensor" in rank["tp child"].differences[0].after
        assert "as it skips tensor parallel" in rank["tp child"].verdict


def test_inputs_that_tensor_parallelism_prepares_are_the_wrong_batch(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert "the output is 2×4 float32 instead of 4×4 float32" in rank["tp inputs"].verdict


def test_other_methods_of_a_sharded_model_spoil_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # init_process_group sets one of its own
    store = dist.FileStore(str(tmp_path / "meeting"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (1,))
        model = Plain()
        fully_shard(model.a, mesh=mesh)
        fully_shard(model, mesh=mesh)
        x = torch.ones(2, 4)
        model.encode(x)
        with pytest.raises(RuntimeError, match="FSDP state has already been lazily initialized for a"):
            model(x)
    finally:
        dist.destroy_process_group()
