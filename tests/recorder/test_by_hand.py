"""Recording by hand: in the debugger, and around what a library calls by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fwdtrace
from tests.helpers.commands import HANG, REPOSITORY

PROGRAM = """\
import torch

net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
x = torch.ones(1, 2)
print("ready")
"""

TYPED = """\
next
next
next
next
import fwdtrace
recording = fwdtrace.record(net)
recording.__enter__()
y = net(x)
recording.__exit__(None, None, None)
p [(call.path, call.entry) for call in recording.trace.calls]
quit
"""


def test_a_call_typed_in_pdb_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pdb", "program.py"], input=TYPED, cwd=tmp_path, capture_output=True, text=True,
        timeout=HANG, check=False, env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
    )  # fmt: skip
    assert "[('', '__call__'), ('0', '__call__'), ('1', '__call__')]" in ran.stdout


@pytest.mark.filterwarnings("ignore")
def test_the_calls_of_generate_are_recorded_one_for_each_token() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=2, num_attention_heads=2)).eval()
    tokens = torch.randint(3, 64, (1, 5))
    expected = model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)
    with fwdtrace.record(model) as recording:
        found = model.generate(tokens, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(found, expected)
    trace = recording.trace
    assert [call.nth for call in trace.children()] == [1, 2, 3, 4]
    shapes = [leaf.shape for call in trace.at("model.layers.1.mlp") for leaf in call.outputs]  # type: ignore[union-attr]
    assert shapes == [(1, 5, 16), (1, 1, 16), (1, 1, 16), (1, 1, 16)]
