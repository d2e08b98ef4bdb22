"""Sources of the tensors of a model that is spread over two processes of gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.commands import HANG, REPOSITORY

SCRIPT = """\
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from tests.helpers.flows import flow, recorded

torch.set_num_threads(1)
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.b = nn.Linear(8, 4)

    def forward(self, x):
        y = self.a(x)
        assert isinstance(y, DTensor)
        y = torch.relu_(y * 2.0)
        return self.b(y) + x


plan = {"a": ColwiseParallel(use_local_output=False), "b": RowwiseParallel()}
net = parallelize_module(Net(), init_device_mesh("cpu", (2,)), plan)
with torch.no_grad():
    print("\\n".join(flow(recorded(net, torch.ones(2, 4)))))
dist.destroy_process_group()
"""


def test_distributed_tensors_have_the_sources_that_one_process_would_have(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "net.py"), str(rank), str(tmp_path / "store")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=HANG) for process in processes]
    for process, (out, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
        assert out.splitlines() == [
            "0 Net(argument x) -> 5.0",
            "1 a(argument x) -> 1.0 by <lambda>",  # parallelize_module puts hooks there that give a distributed tensor
            "2 *(1.0 by <lambda>) -> 2.0",
            "3 F.relu_(2.0) -> 2.0 !3",
            "4 b(2.0 !3) -> 4.0 by <lambda>",
            "5 +(4.0 by <lambda>, argument x) -> 5.0",
        ]
