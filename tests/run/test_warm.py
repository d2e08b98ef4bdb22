"""Times of warm runs: the model, its arguments and the random state are put back, and the first run is told apart."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from fwdtrace.recorder import boundaries
from tests.helpers.commands import Command

COUNTING = """
import time, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)
        self.drop = torch.nn.Dropout()
        self.even, self.odd = torch.nn.Identity(), torch.nn.Identity()
        self.calls = 0
        self.slow = 0.05
    def forward(self, x):
        self.calls += 1
        x.add_(1)
        assert self.calls == 1 and self.norm.num_batches_tracked == 0 and x.mean() < 2
        time.sleep(FIRST.pop() if FIRST else 0.01)
        x = self.drop(self.norm(x))
        return self.even(x) if x.sum() > 0 else self.odd(x)
FIRST = [0.3]
"""


def test_each_run_starts_from_the_same_state_and_the_cold_time_is_told_apart(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1]
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.append(clock[-1] + round(seconds * 1e9)))
    monkeypatch.setattr(boundaries, "perf_counter_ns", lambda: clock[-1])
    (folder / "net.py").write_text(COUNTING)
    ran = command("run", "net.py:Net", "-i", "8x4", "--train", "--repeat", "3", "--json", "-o", "t.txt", "-o", "t.csv")
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    root = found["calls"][0]
    assert found["run"]["repeat"] == 3
    assert (root["cold_us"], root["duration_us"]) == (300_000, 10_000)
    assert all("cold_us" in call for call in found["calls"])
    text = (folder / "t.txt").read_text()
    assert "time" in text.split("\n\n")[1].split("\n")[0]
    assert "median of 3 warm runs" in text and "the first, cold one" in text
    head, first, *_ = (folder / "t.csv").read_text().splitlines()
    assert head.endswith("cold_us") and float(first.rpartition(",")[2]) == root["cold_us"]


def test_without_repeat_there_is_no_cold_time(command: Command) -> None:
    found = json.loads(command("run", "--json").out)
    assert "repeat" not in found["run"] and "cold_us" not in found["calls"][0]


def test_a_model_that_runs_otherwise_the_next_time_is_told(command: Command, folder: Path) -> None:
    (folder / "net.py").write_text(
        "import torch\nRAN = []\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.a = torch.nn.Identity()\n"
        "    def forward(self, x):\n        RAN.append(1)\n        return self.a(x) if len(RAN) == 1 else x\n"
    )
    ran = command("run", "net.py:Net", "-i", "2", "--repeat", "1")
    assert ran.status == 2 and "a Identity" in ran.out
    assert "--repeat: run again from the same state, the model did not make the same calls" in ran.err


def test_what_cannot_be_repeated_is_refused(command: Command, folder: Path) -> None:
    assert "a model on meta computes nothing" in command("run", "--repeat", "2", "--device", "meta").err
    (folder / "net.py").write_text(
        "import torch, threading\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.lock = threading.Lock()\n"
        "    def forward(self, x):\n        return x\n"
    )
    ran = command("run", "net.py:Net", "-i", "2", "--repeat", "1")
    assert ran.status == 2 and "--repeat: the model cannot be put back, as copy.deepcopy raised TypeError" in ran.err
