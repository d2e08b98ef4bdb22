"""What a healthy program pays for being watched by `exec --on nonfinite`, and by what others have for the same end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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
took = []
for number in range(23):
    begin = time.perf_counter()
    with around():
        optimizer.zero_grad()
        run().backward()
        optimizer.step()
    if number > 2:
        took.append(time.perf_counter() - begin)
print("took", min(took), most_memory())
"""

WATCHES = ("bare", "bare again", "exec --on nonfinite", "DebugUnderflowOverflow", "detect_anomaly")


def per_watched_step(console: Console, rounds: int) -> None:
    """A step of a small Llama and of a small CNN: each watch in a process of its own, round after round."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(HEALTHY, encoding="utf-8")
        for kind in ("llama", "cnn"):
            times: dict[str, list[float]] = {watch: [] for watch in WATCHES}
            memory: dict[str, list[int]] = {watch: [] for watch in WATCHES}
            for _ in range(rounds):
                for watch in WATCHES:
                    took, most = _run(script, kind, watch)
                    times[watch].append(took)
                    memory[watch].append(most)
            title = f"the fastest step of a healthy {kind} in a process, min / median of {rounds}"
            table = Table("", "ms", "× bare", "peak × bare", title=title)
            for watch in WATCHES:
                peak = f"{min(memory[watch]) / min(memory['bare']):.3f}"
                table.add_row(watch, milliseconds(times[watch]), ratio(times[watch], times["bare"]), peak)
            console.print(table)


def _run(script: Path, kind: str, watch: str) -> tuple[float, int]:
    observed = ["-m", "fwdtrace", "exec", "--on", "nonfinite"] if watch.startswith("exec") else []
    command = [sys.executable, *observed, str(script), kind, watch.split()[0]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    _, took, most = next(line for line in ended.stdout.splitlines() if line.startswith("took ")).split()
    return float(took), int(most)
