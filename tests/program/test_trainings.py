"""`fwdtrace exec --on nonfinite` on programs that train, each with NaN or an overflow planted at some step."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fwdtrace import load_trace
from fwdtrace.trace import Trace
from tests.helpers.commands import REPOSITORY

pytestmark = pytest.mark.sweep

TRAININGS = REPOSITORY / "tests" / "helpers" / "trainings"
SHIM = REPOSITORY / "tests" / "torchvision_shim"

PLANTED: list[tuple[str, str, int, str, str]] = [
    ("cnn", "forward", 100, "forward", "/"),
    ("cnn", "backward", 300, "backward", "Tensor.sqrt"),
    ("nanogpt", "forward", 57, "forward", "Tensor.softmax"),
    ("nanogpt", "backward", 41, "backward", "Tensor.sqrt"),
    ("nanogpt --dtype bfloat16", "forward", 38, "forward", "Tensor.softmax"),
    ("nanogpt --dtype bfloat16", "backward", 60, "backward", "Tensor.sqrt"),
    ("nanogpt --dtype float16", "forward", 44, "overflow", "blocks.0.up (Linear)"),
    ("lstm", "forward", 213, "forward", "/"),
    ("lstm", "backward", 150, "backward", "**"),
    ("gan", "forward", 77, "forward", "Tensor.log"),
    ("gan", "backward", 99, "backward", "Tensor.sqrt"),
    ("vae", "forward", 250, "forward", "torch.exp"),
    ("vae", "backward", 31, "backward", "torch.acos"),
    ("ppo", "forward", 64, "forward", "Tensor.log"),
    ("ppo", "backward", 90, "backward", "Tensor.sqrt"),
    ("accumulation", "forward", 33, "forward", "/"),
    ("accumulation", "backward", 120, "backward", "Tensor.sqrt"),
    ("checkpointing", "forward", 70, "forward", "/"),
    ("checkpointing", "backward", 49, "backward", "Tensor.sqrt"),
    ("checkpointing --reentrant yes", "backward", 45, "backward", "Tensor.sqrt"),
    ("trainer", "forward", 35, "forward", "/"),
    ("trainer", "backward", 52, "backward", "Tensor.sqrt"),
    ("with_lightning", "forward", 55, "forward", "/"),
    ("with_lightning", "backward", 32, "backward", "Tensor.sqrt"),
]
"""A program, what is planted in it and at which step, the mark of the line, and what FT005 is to name."""

IN_RANKS = [("ddp", "forward", "/"), ("ddp", "backward", "Tensor.sqrt")] + [
    (parallel, plant, op)
    for parallel in ("fsdp", "tensor")
    for plant, op in (("forward", "/"), ("backward", "Tensor.sqrt"))
]


def run(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(REPOSITORY), str(SHIM), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def marked(mark: str, script: str) -> tuple[str, int]:
    """The file and the number of the line that ends in this mark."""
    file = TRAININGS / ("batches.py" if script in ("trainer", "with_lightning") else f"{script}.py")
    lines = file.read_text(encoding="utf-8").splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if text.endswith(f"# {mark}"))
    return str(file), line


def explained(trace: Trace) -> list[tuple[str, int, str]]:
    """For each finding of NaN or infinities: its file, its line and its message."""
    found = [finding for finding in trace.findings if finding.code == "FT005"]
    return [(each.site.file, each.site.line, each.message) for each in found if each.site is not None]


@pytest.mark.parametrize(("program", "plant", "at", "mark", "op"), PLANTED)
def test_the_op_and_the_line_are_named_and_the_program_trains_as_it_does_alone(
    program: str, plant: str, at: int, mark: str, op: str, tmp_path: Path
) -> None:
    script, *options = program.split()
    if script == "with_lightning" and importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    command = [str(TRAININGS / f"{script}.py"), *options, "--plant", plant, "--at", str(at)]
    bare = run(command, tmp_path)
    assert bare.returncode == 0, bare.stderr
    watched = run(["-m", "fwdtrace", "exec", "--on", "nonfinite", "-o", "t.json", *command], tmp_path)
    assert (watched.returncode, watched.stdout) == (0, bare.stdout), watched.stderr
    trace = load_trace(tmp_path / "t.json")
    ((file, line, message),) = explained(trace)
    assert (file, line) == marked(mark, script)
    assert message.startswith(f"the backward of {op} in " if mark == "backward" else f"{op} ")
    assert (trace.run.event, trace.run.replay, trace.run.replay_reason) == ("nonfinite", "exact", None)
    by_step = 2 if script == "ppo" else 1
    assert trace.run.step == at * by_step + 1


def test_a_step_that_a_scaler_skips_is_none(tmp_path: Path) -> None:
    command = [str(TRAININGS / "nanogpt.py"), "--dtype", "float16", "--plant", "backward"]
    bare = run(command, tmp_path)
    watched = run(["-m", "fwdtrace", "exec", "--on", "nonfinite", "-o", "t.json", *command], tmp_path)
    assert (watched.returncode, watched.stdout) == (0, bare.stdout), watched.stderr
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize(("parallel", "plant", "op"), IN_RANKS)
def test_what_goes_wrong_on_one_rank_is_explained_there_and_no_rank_waits_for_another(
    parallel: str, plant: str, op: str, processes: int, tmp_path: Path
) -> None:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    program = [str(TRAININGS / "ranks.py"), "--parallel", parallel, "--plant", plant]
    bare = run([*launcher, *program], tmp_path)
    assert bare.returncode == 0, bare.stderr
    watched = run([*launcher, "-m", "fwdtrace", "exec", "--on", "nonfinite", "-o", "t.json", *program], tmp_path)
    assert watched.returncode == 0, watched.stderr
    assert sorted(watched.stdout.splitlines()) == sorted(bare.stdout.splitlines())
    traces = [load_trace(tmp_path / f"t.rank{rank}.json") for rank in range(processes)]
    assert {(trace.run.event, trace.run.replay, trace.run.step) for trace in traces} == {("nonfinite", "exact", 31)}
    blamed = [(file, line) for trace in traces for file, line, text in explained(trace) if f"{op} in " in text]
    assert blamed == [marked(plant, "ranks")] * (processes if parallel == "tensor" else 1)
