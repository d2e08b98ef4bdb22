"""`fwdtrace exec` on training scripts: their results stay as they are, and the files hold what was seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fwdtrace import load_trace
from tests.helpers.commands import CHILDS_PATH, HANG
from tests.helpers.forks import printed_by

TRAIN = """\
import hashlib
import sys

import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.norm(self.drop(torch.relu(self.first(x)))))


class Critic(nn.Linear):
    pass


class Descent:
    def __init__(self, parameters, lr):
        self.parameters, self.lr = parameters, lr

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def step(self):
        for parameter in self.parameters:
            parameter.data -= self.lr * parameter.grad


net, critic = Net(), Critic(2, 1)
optimizer = Descent([*net.parameters(), *critic.parameters()], lr=float(sys.argv[1]))
for step in range(4):
    loss = critic(net(torch.randn(6, 4))).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item().hex())
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.state_dict().values())).hexdigest())
sys.exit(3)
"""
WITH_ADAM = TRAIN.replace("= Descent(", "= torch.optim.Adam(")
"""The same with an optimizer of torch's, which imports torch's compiler, and that takes as long as torch itself."""


def run(arguments: list[str], folder: Path, source: str = TRAIN) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(source, encoding="utf-8")
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=HANG,
        env={**os.environ, "PYTHONPATH": CHILDS_PATH, "COLUMNS": "80"},
    )  # fmt: skip


def test_the_results_are_those_of_the_bare_program_and_each_model_and_each_call_has_a_file(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (bare,) = printed_by(["train.py", "1e-2"], tmp_path, status=3)
    traced = run(["-m", "fwdtrace", "exec", "-o", "t.json", "--first", "2", "--stats", "train.py", "1e-2"], tmp_path)
    assert (traced.returncode, traced.stdout) == (3, bare)
    assert len(bare.splitlines()) == 5
    files = ["t.Critic.call2.json", "t.Critic.json", "t.call2.json", "t.json"]
    assert sorted(file.name for file in tmp_path.glob("*.json")) == files
    assert [call.path for call in load_trace(tmp_path / "t.json").calls] == ["", "first", "drop", "norm", "last"]
    assert traced.stderr == (
        "fwdtrace: Net (net): calls 1 and 2 of 4, alike, all in training with gradients\n"
        "fwdtrace: Critic (critic): calls 1 and 2 of 4, alike, all in training with gradients\n"
        "fwdtrace: saved t.json, t.Critic.json, t.call2.json, t.Critic.call2.json\n"
    )


@pytest.mark.sweep
def test_the_loss_curve_the_weights_and_the_status_are_those_of_the_bare_program(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(WITH_ADAM, encoding="utf-8")
    (bare,) = printed_by(["train.py", "1e-2"], tmp_path, status=3)
    exec_every_other_call = ["-m", "fwdtrace", "exec", "--every", "2", "--ops", "--stats"]
    traced = run([*exec_every_other_call, "train.py", "1e-2"], tmp_path, WITH_ADAM)
    assert (traced.returncode, traced.stdout) == (3, bare)
    assert "__main__.Net" in traced.stderr


STEPS = """\
import sys

import torch
from torch import nn

torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
events = []


def step():
    model.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    with torch.no_grad():  # an optimizer of torch's would import its compiler
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad


for number in range(31):
    if number == 30:
        sys.setprofile(lambda frame, event, argument: events.append((event, frame.f_code.co_qualname)))
    step()
sys.setprofile(None)
print(*events, sep="\\n")
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects have no qualified names")
def test_once_the_chosen_calls_are_over_a_step_runs_what_it_runs_without_us_and_counts_one_call(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(STEPS, encoding="utf-8")
    bare = run(["steps.py"], tmp_path)
    traced = run(["-m", "fwdtrace", "exec", "-o", "t.json", "steps.py"], tmp_path)
    assert "'Linear.forward'" in bare.stdout
    ours = ("watched", "is_dynamo_compiling", "is_grad_enabled", "_current_graph_task_id")
    by_us = [line for line in traced.stdout.splitlines() if any(name in line for name in ours)]
    assert 0 < len(by_us) < 20
    assert [line for line in traced.stdout.splitlines() if line not in by_us] == bare.stdout.splitlines()
    assert len(load_trace(tmp_path / "t.json").calls) == 4
    assert "call 1 of 31, all in training" in traced.stderr


GRAPHS = """\
import torch
from torch import nn
from torch.func import functional_call, vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 4)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


torch.manual_seed(0)
net, x = Net(), torch.ones(2, 4)
print([str(node) for node in torch.fx.symbolic_trace(net).graph.nodes])
print([str(node) for node in torch.export.export(net, (x,)).graph.nodes])
compiled = torch.compile(net, backend="eager", fullgraph=True)
for _ in range(3):
    print(compiled(x).sum().item().hex())
print(vmap(lambda row: functional_call(net, dict(net.named_parameters()), (row,)))(x).sum().item().hex())
"""


@pytest.mark.sweep
def test_a_program_that_traces_exports_and_compiles_its_model_gets_what_it_would(tmp_path: Path) -> None:
    (tmp_path / "graphs.py").write_text(GRAPHS, encoding="utf-8")
    (bare,) = printed_by(["graphs.py"], tmp_path)
    traced = run(["-m", "fwdtrace", "exec", "-o", "t.json", "graphs.py"], tmp_path)
    assert "first" in bare
    assert (traced.returncode, traced.stdout) == (0, bare), traced.stderr
    assert traced.stderr.endswith("fwdtrace: saved t.json\n")
    assert load_trace(tmp_path / "t.json").calls[0].opaque == "compiled"


def test_of_many_models_the_first_are_kept_and_the_rest_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(
        "import torch\nfor size in range(1, 31):\n    torch.nn.Linear(size, 1)(torch.ones(1, size))\n", encoding="utf-8"
    )
    ran = run(["-m", "fwdtrace", "exec", "-o", "t.json", "many.py"], tmp_path)
    assert ran.returncode == 0
    assert ran.stderr.endswith("fwdtrace: 20 models are kept, the most there can be; --model PATH names one\n")
    assert len(list(tmp_path.glob("t*.json"))) == 20


ENDED = """\
import os
import sys

import torch


class Net(torch.nn.Linear):
    def forward(self, x):
        os.kill(os.getpid(), int(sys.argv[1]))
        return super().forward(x)


Net(2, 2)(torch.ones(1, 2))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.sweep)])
def test_a_program_killed_in_a_call_leaves_what_had_run(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "ended.py").write_text(ENDED, encoding="utf-8")
    ran = run(["-m", "fwdtrace", "exec", "-o", "t.json", "ended.py", str(int(number))], tmp_path)
    assert ran.returncode == -number
    assert load_trace(tmp_path / "t.json").calls[0].class_name == "Net"


def test_a_program_killed_later_leaves_complete_files(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import torch\nnet = torch.nn.Linear(2, 2)\nnet(torch.ones(1, 2))\nprint(flush=True)\nwhile True: pass\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "fwdtrace", "exec", "-o", "t.json", "late.py"], cwd=tmp_path,
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": CHILDS_PATH},
    ) as program:  # fmt: skip
        assert program.stdout is not None
        program.stdout.readline()
        program.kill()
    assert [call.class_name for call in load_trace(tmp_path / "t.json").calls] == ["Linear"]


WORKERS = """\
import sys

import torch
import torch.multiprocessing
from torch import nn

torch.set_num_threads(1)
net = nn.Linear(4, 2)
nn.init.ones_(net.weight), nn.init.zeros_(net.bias)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad():
            return net(torch.full((4,), float(index))).repeat(2)


def work(number):
    child = nn.Bilinear(2, 2, 1)
    print("child", number, tuple(child(torch.ones(1, 2), torch.ones(1, 2)).shape), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "workers":
        for rows in torch.utils.data.DataLoader(Rows(), batch_size=2, num_workers=2):
            print(net(rows).tolist())
    else:
        print(net(torch.ones(1, 4)).tolist(), flush=True)
        child = torch.multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(1,))
        child.start()
        child.join()
        print(child.exitcode)
"""


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("workers", "2 processes"),
        pytest.param("fork", "1 process", marks=pytest.mark.sweep),
        pytest.param("spawn", "1 process", marks=pytest.mark.long),
    ],
)
def test_processes_that_the_program_starts_run_as_they_would_and_leave_no_files(
    way: str, number: str, tmp_path: Path
) -> None:
    (tmp_path / "workers.py").write_text(WORKERS, encoding="utf-8")
    bare = run(["workers.py", way], tmp_path)
    traced = run(["-m", "fwdtrace", "exec", "-o", "t.json", "workers.py", way], tmp_path)
    assert bare.stdout and (bare.returncode, bare.stderr) == (0, "")
    assert (traced.returncode, traced.stdout) == (0, bare.stdout)
    not_traced = f"fwdtrace: it started {number}, whose calls are not traced; --children follows "
    assert f"fwdtrace: saved t.json\n{not_traced}" in traced.stderr
    assert [file.name for file in tmp_path.glob("*.json")] == ["t.json"]
    assert [call.class_name for call in load_trace(tmp_path / "t.json").calls] == ["Linear"]
