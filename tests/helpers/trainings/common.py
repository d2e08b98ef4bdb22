"""What the training programs share: their arguments, what is wrong with a batch and when, and what a step prints."""

from __future__ import annotations

import argparse
import random
import sys
import zlib
from collections.abc import Iterator

import numpy
import torch
from torch import Tensor, nn


def arguments(**more: str) -> argparse.Namespace:
    """`--plant` says what goes wrong from step `--at` on, counted from 0; `more` are further options, by default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plant", choices=["none", "forward", "backward"], default="none")
    parser.add_argument("--at", type=int, default=30)
    parser.add_argument("--steps", type=int)
    for name, default in more.items():
        parser.add_argument(f"--{name}", default=default)
    options = parser.parse_args()
    options.steps = options.steps or options.at + 3
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)
    return options


def steps(options: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """The number of each step, and what goes wrong in it: "forward", "backward" or ""."""
    for step in range(options.steps):
        yield step, options.plant if step == options.at else ""


def report(step: int, loss: Tensor | float, *models: nn.Module) -> None:
    """Print the loss and a digest of all weights and buffers, to the last bit."""
    value = loss.item() if isinstance(loss, Tensor) else loss
    sys.stdout.write(f"{step} {float(value).hex()} {digest(*models):08x}\n")  # at once: ranks write to the same file
    sys.stdout.flush()


def digest(*models: nn.Module) -> int:
    """A checksum of the weights and buffers; of distributed ones, of the part that is here."""
    found = 0
    for tensor in (tensor for model in models for tensor in model.state_dict().values()):
        own = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        found = zlib.crc32(own.detach().reshape(-1).view(torch.uint8).numpy().tobytes(), found)
    return found
