"""Measuring side by side: every contender once a round, round after round, so that all see the same machine."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from tests.benchmarks.contenders import PEERS, Contender, Pass

NOTHING = "–"


def passes(contenders: Sequence[Contender], model: nn.Module, x: Tensor, rounds: int) -> dict[Contender, list[Pass]]:
    """What each contender took in each round, one unmeasured round first; a missing or failing peer has no passes."""
    found: dict[Contender, list[Pass]] = {contender: [] for contender in contenders}
    present = list(contenders)
    with torch.no_grad():
        for number in range(rounds + 1):
            for contender in list(present):
                gc.collect()
                try:
                    took = contender(model, x)
                except Exception:  # somebody else's library: it is missing, or cannot take this model
                    if contender not in PEERS:
                        raise
                    present.remove(contender)
                    found[contender].clear()
                    continue
                if number:
                    found[contender].append(took)
    return found


def processes(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each command of this Python in each round, one unmeasured round first; nothing if one fails."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    # An installed package has its byte code beside it; the first round, which does not count, writes what is missing.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(rounds + 1):
        for name, arguments in commands.items():
            start = perf_counter()
            ended = subprocess.run([sys.executable, *arguments], capture_output=True, check=False, env=environment)
            if number and ended.returncode == 0:
                found[name].append(perf_counter() - start)
    return found


def ratio(times: Sequence[float], base: Sequence[float]) -> str:
    """Two series compared, by their minima and by the median of what each round gives: `1.08 / 1.10`."""
    if not times or not base:
        return NOTHING
    paired = median(one / other for one, other in zip(times, base, strict=True))
    return f"{min(times) / min(base):.2f} / {paired:.2f}"


def milliseconds(times: Sequence[float]) -> str:
    """Minimum and median of a series: `4.10 / 4.31`."""
    return f"{min(times) * 1e3:.2f} / {median(times) * 1e3:.2f}" if times else NOTHING
