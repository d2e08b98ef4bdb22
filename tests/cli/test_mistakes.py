"""Mistakes that are easily made: each message says what to write, and what it says works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.commands import Command

MODEL = """
from torch import nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(4, width)

    def forward(self, x, mask=None):
        return self.fc(x)


def small():
    return Net(2)
"""

MISTAKES = [
    # what is typed, what the message has to say, and what is typed then
    ("run LeNet", "nearest is 'lenet'", "run lenet"),
    ("run lennet", "nearest is 'lenet'", "run lenet"),
    ("run ResNet18", "did you mean torchvision:resnet18?", "run torchvision:resnet18 --device meta"),
    ("run resnet18(num_classes=3)", "torchvision:resnet18", "run torchvision:resnet18(num_classes=3) --device meta"),
    ("run torchvision:ResNet18", "the nearest is 'resnet18'", "run torchvision:resnet18 --device meta"),
    ("run lama", "did you mean transformers:llama?", "models --source transformers"),
    ("run package", "'package' is a folder: name a model in a file in it, such as package/net.py:Name",
     "run package/net.py:small --input 1x4"),
    ("run config", "is a folder with a config.json: write transformers:config", "run transformers:config"),
    ("run net.py:Net", "write net.py:Net(width=", "run net.py:Net(width=2) --input 1x4"),
    ("run net.py:net", "the nearest is 'Net'", "run net.py:Net(2) --input 1x4"),
    ("run weights.pt", "it holds weights: write file.py:Name --weights weights.pt",
     "run net.py:small --input 1x4 --weights weights.pt"),
    ("run last.ckpt", "write file.py:Name --weights last.ckpt", "run net.py:small --input 1x4 --weights last.ckpt"),
    ("run pickled.pt", "if it is a pickled module, save its weights, torch.save(model.state_dict(), 'weights.pt')",
     "run net.py:small --input 1x4 --weights weights.pt"),
    ("run lenet --input 1,3,32,32", "write 1x3x32x32", "run lenet --input 1x3x32x32"),
    ("run lenet --input (1,3,32,32)", "write 1x3x32x32", "run lenet --input 1x3x32x32"),
    ("run net.py:small --input {'x':[1,4],'mask':2}", "name by name, --input x=1x8 --input mask=1x8",
     "run net.py:small --input x=1x4 --input mask=1x4"),
    ("run net.py:small --input y=1x4", "it takes x, mask", "run net.py:small --input x=1x4"),
    ("run lenet --fail-on direct", "FT001 (direct-forward)", "run lenet --fail-on ft001,Direct-Forward"),
    ("run lenet --columns parameters", "there are called,input,output,params", "run lenet --columns params"),
    ("run lenet -o tree.png", "use one of .json .txt .svg", "run lenet -o tree.svg"),
    ("run lenet -o out/tree.svg", "there is no folder 'out'; make it first", "run lenet -o tree.svg"),
    ("run lenet --device gpu", "use cpu, cuda, cuda:N or meta", "run lenet --device cpu"),
    ("show net.py", "net.py", "show trace.json"),
    ("models --source torchvison", "the nearest is 'torchvision'", "models --source torchvision resnet18"),
    ("compare lenet", "say what with: a second SPEC", "compare lenet lenet"),
    ("rule direct", "FT001", "rule FT001"),
]  # fmt: skip


@pytest.fixture
def files(folder: Path, command: Command) -> Path:
    (folder / "net.py").write_text(MODEL)
    (folder / "package").mkdir()
    (folder / "package" / "net.py").write_text(MODEL)
    (folder / "config").mkdir()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = {"model_type": "bert", "vocab_size": 11, "architectures": ["BertModel"], **sizes}
    (folder / "config" / "config.json").write_text(json.dumps(config))
    state = {"fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)}
    torch.save(state, folder / "weights.pt")
    torch.save({"state_dict": state, "epoch": 3}, folder / "last.ckpt")
    torch.save(nn.Linear(4, 2), folder / "pickled.pt")
    command("run", "lenet", "-o", "trace.json")
    return folder


@pytest.mark.parametrize(("typed", "said", "then"), MISTAKES, ids=[typed for typed, _, _ in MISTAKES])
def test_the_message_says_what_to_write_and_that_works(
    command: Command, files: Path, typed: str, said: str, then: str
) -> None:
    for text in (typed, then):
        for library in re.findall("torchvision|transformers|timm", text + said):
            pytest.importorskip(library)
    wrong = command(*typed.split(" "))
    assert (wrong.status, wrong.out) == (2, "")
    assert said in " ".join(wrong.err.split()) and "Traceback" not in wrong.err
    right = command(*then.split(" "))
    assert right.status == 0, right.err
    assert right.out
