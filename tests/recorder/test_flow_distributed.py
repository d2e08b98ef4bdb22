"""Sources of the tensors of a model that is spread over two processes of gloo."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.helpers.flows import flow, recorded
from tests.helpers.forks import run_ranks


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.b = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        y = self.a(x)
        assert isinstance(y, DTensor)
        y = torch.relu_(y * 2.0)
        output: Tensor = self.b(y) + x
        return output


def rank_main(rank: int, folder: str) -> None:
    """One process of the two: record a call, and write down its flow."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    plan = {"a": ColwiseParallel(use_local_output=False), "b": RowwiseParallel()}
    net = parallelize_module(Net(), init_device_mesh("cpu", (2,)), plan)  # type: ignore[arg-type]
    with torch.no_grad():
        Path(folder, f"{rank}.txt").write_text("\n".join(flow(recorded(net, torch.ones(2, 4)))))
    dist.destroy_process_group()


def test_distributed_tensors_have_the_sources_that_one_process_would_have(tmp_path: Path) -> None:
    run_ranks(rank_main, 2, str(tmp_path))
    for rank in range(2):
        assert (tmp_path / f"{rank}.txt").read_text().splitlines() == [
            "0 Net(argument x) -> 5.0",
            "1 a(argument x) -> 1.0 by <lambda>",  # parallelize_module puts hooks there that give a distributed tensor
            "2 *(1.0 by <lambda>) -> 2.0",
            "3 F.relu_(2.0) -> 2.0 !3",
            "4 b(2.0 !3) -> 4.0 by <lambda>",
            "5 +(4.0 by <lambda>, argument x) -> 5.0",
        ]
