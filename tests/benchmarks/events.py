"""What a healthy program pays for being watched by `exec --on nonfinite`, and by what others have for the same end.

Each way of watching has a process of its own, and all of them wait for one to make its step. So what is compared was
measured within a second, by one machine in one state, and only one process runs at a time.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.rounds import milliseconds, ratio

HEALTHY = """
import contextlib, sys, time
from tests.torchvision_shim import sitecustomize
import torch
from tests.benchmarks.memory import most_memory
torch.set_num_threads(1)
torch.manual_seed(0)
kind, watch = sys.argv[1:]
if kind == "llama":
    from tests.benchmarks.contenders import small_llama
    model, x = small_llama()
    run = lambda: model(input_ids=x, labels=x).loss
else:
    from torch import nn
    block = lambda a, b: nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.Dropout(0.1))
    model = nn.Sequential(block(3, 32), block(32, 32), block(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(64, 10))
    x = torch.randn(16, 3, 24, 24)
    run = lambda: model(x).square().mean()
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
around = contextlib.nullcontext
if watch == "DebugUnderflowOverflow":
    from transformers.debug_utils import DebugUnderflowOverflow
    debug = DebugUnderflowOverflow(model, max_frames_to_save=21)
elif watch == "detect_anomaly":
    around = lambda: torch.autograd.set_detect_anomaly(True)
for line in sys.stdin:
    begin, began = time.perf_counter(), time.process_time()
    with around():
        optimizer.zero_grad()
        run().backward()
        optimizer.step()
    print("took", time.perf_counter() - begin, time.process_time() - began, most_memory(), flush=True)
"""

WATCHES = ("bare", "bare again", "exec --on nonfinite", "DebugUnderflowOverflow", "detect_anomaly")
UNMEASURED = 3
"""So many steps of each process come first, in which torch and the watches get ready."""


def per_watched_step(console: Console, rounds: int) -> None:
    """A step of a small Llama and of a small CNN: one by each watch, round after round."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(HEALTHY, encoding="utf-8")
        for kind in ("llama", "cnn"):
            title = f"a step of a healthy {kind}, min / median of {rounds}"
            console.print(_side_by_side(script, kind, title, rounds))


def _side_by_side(script: Path, kind: str, title: str, rounds: int) -> Table:
    times: dict[str, list[float]] = {watch: [] for watch in WATCHES}
    of_cpu: dict[str, list[float]] = {watch: [] for watch in WATCHES}
    memory = dict.fromkeys(WATCHES, 0)
    with contextlib.ExitStack() as stack:
        running = {watch: stack.enter_context(_started(script, kind, watch)) for watch in WATCHES}
        for number in range(rounds + UNMEASURED):
            for watch in WATCHES[number % len(WATCHES) :] + WATCHES[: number % len(WATCHES)]:
                took, cpu, memory[watch] = _step(running[watch])
                if number >= UNMEASURED:
                    times[watch].append(took)
                    of_cpu[watch].append(cpu)
    table = Table("", "ms", "× bare", "CPU × bare", "peak × bare", title=title)
    for watch in WATCHES:
        peak = f"{memory[watch] / memory['bare']:.3f}"
        measured = ratio(times[watch], times["bare"]), ratio(of_cpu[watch], of_cpu["bare"])
        table.add_row(watch, milliseconds(times[watch]), *measured, peak)
    return table


@contextlib.contextmanager
def _started(script: Path, kind: str, watch: str) -> Iterator[subprocess.Popen[str]]:
    observed = ["-m", "fwdtrace", "exec", "--on", "nonfinite"] if watch.startswith("exec") else []
    command = [sys.executable, *observed, str(script), kind, watch.split()[0]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=environment) as process:
        yield process


def _step(process: subprocess.Popen[str]) -> tuple[float, float, int]:
    """Have a program make a step: its seconds by the clock, those of the CPU, the most memory it has had."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    _, took, cpu, most = next(line for line in process.stdout if line.startswith("took ")).split()
    return float(took), float(cpu), int(most)
