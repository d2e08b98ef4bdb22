"""Models without weights: any size is built and run, and a line that needs values is named."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.commands import Command

NEEDS_VALUES = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        if self.layer(x).sum().item() > 0:
            return x
        return -x
"""


def test_a_model_too_large_for_the_memory_runs_on_meta(command: Command, folder: Path) -> None:
    size = "num_hidden_layers=126, hidden_size=16384, intermediate_size=53248, num_attention_heads=128"
    spec = f"transformers:llama({size}, num_key_value_heads=8, vocab_size=128256)"
    assert "this machine has" in command("run", spec).err
    ran = command("run", spec, "--device", "meta", "--no-ops")
    assert ran.status == 0, ran.err
    assert "405,853,388,800 parameters" in ran.out
    assert "×126, same shapes" in ran.out


def test_a_line_that_needs_values_is_named_where_there_are_none(command: Command, folder: Path) -> None:
    (folder / "net.py").write_text(NEEDS_VALUES, encoding="utf-8")
    ran = command("run", "net.py:Net", "--device", "meta", "--input", "2x4")
    assert ran.status == 2
    assert "net.py:11 (if self.layer(x).sum().item() > 0:); leave --device meta off" in ran.err
    assert "layer" in ran.out
