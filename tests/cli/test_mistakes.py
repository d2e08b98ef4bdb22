"""Mistakes that are easily made: each message says what to write, and what it says works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
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

SCRIPT = """
from torch import nn
import torch

model = nn.Linear(4, 2)
model(torch.zeros(1, 4))
"""

OF_DICT = """
from torch import nn


class OfDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, batch):
        return self.fc(batch["x"])
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
    ("run lenet --input net.py", "save it as an array with numpy.save", "run lenet --input 1x3x32x32"),
    ("run lenet --input (1,3,32,32)", "write 1x3x32x32", "run lenet --input 1x3x32x32"),
    ("run net.py:small --input {'x':[1,4],'mask':2}", "name by name, --input x=1x8 --input mask=1x8",
     "run net.py:small --input x=1x4 --input mask=1x4"),
    ("run net.py:small --input y=1x4", "it takes x, mask", "run net.py:small --input x=1x4"),
    ("run lenet --fail-on direct", "FT001 (direct-forward)", "run lenet --fail-on ft001,Direct-Forward"),
    ("run lenet --columns parameters", "there are called,input,output,params", "run lenet --columns params"),
    ("run lenet -o tree.png", "use one of .json .txt .svg", "run lenet -o tree.svg"),
    ("run lenet -o out/tree.svg", "there is no folder 'out'; make it first", "run lenet -o tree.svg"),
    ("run lenet --device gpu", "torch has no such kind of device); use cpu", "run lenet --device cpu"),
    ("show net.py", "net.py", "show trace.json"),
    ("models --source torchvison", "the nearest is 'torchvision'", "models --source torchvision resnet18"),
    ("compare lenet", "say what with: a second SPEC", "compare lenet lenet"),
    ("rule direct", "FT001", "rule FT001"),
    ("run net", "did you mean net.py:Name?", "run net.py:small --input 1x4"),
    ("run small", "did you mean net.py:small?", "run net.py:small --input 1x4"),
    ("run net.small", "did you mean net.py:small?", "run net.py:small --input 1x4"),
    ("net.py:small", "write fwdtrace run net.py:small", "run net.py:small --input 1x4"),
    ("run net.py small", "write fwdtrace run net.py:small", "run net.py:small --input 1x4"),
    ("run net.py:small 1x4", "write fwdtrace run net.py:small --input 1x4", "run net.py:small --input 1x4"),
    ("run net.py:Net(widht=2)", "did you mean width=2?", "run net.py:Net(width=2) --input 1x4"),
    ("run script.py", "but makes one: write script.py:model", "run script.py:model --input 1x4"),
    ("run dict.py:OfDict --input x=1x4", "torch.save({'x': torch.rand(1, 8)}, 'batch.pt')",
     "run dict.py:OfDict --input batch=batch.pt"),
    ("run dict.py:OfDict --input batch.pt", "write --input batch=batch.pt",
     "run dict.py:OfDict --input batch=batch.pt"),
    ("run bert-base-uncased", "transformers:bert is a model of this type", "run transformers:bert --device meta"),
    ("run transformers:facebook/opt-125m", "transformers:opt", "run transformers:opt --device meta"),
    ("run facebook/opt-125m", "transformers:opt", "run transformers:opt --device meta"),
    ("lenet", "write fwdtrace run lenet", "run lenet"),
    ("LeNet --json", "write fwdtrace run LeNet --json", "run lenet --json"),
    ("torchvision:resnet18 --device meta", "write fwdtrace run torchvision:resnet18 --device meta",
     "run torchvision:resnet18 --device meta"),
    ("trace.json --depth 1", "write fwdtrace show trace.json --depth 1", "show trace.json --depth 1"),
    ("ft001", "write fwdtrace rule ft001", "rule ft001"),
    ("run trace.json", "if it is a saved trace, write fwdtrace show trace.json", "show trace.json"),
    ("compare trace.json", "write compare trace.json OTHER.json", "compare trace.json trace.json"),
    ("run lenet net.py:small", "write fwdtrace compare lenet net.py:small", "run net.py:small --input 1x4"),
    ("run lenet --sort speed", "write one of time, self,", "run lenet --sort time"),
    ("run lenet --sort flop", "did you mean flops?", "run lenet --sort flops"),
    ("show trace.json --sort Time", "did you mean time?", "show trace.json --sort time"),
    ("run lenet --color yes", "write one of auto, always, never", "run lenet --color always"),
    ("show tree.html", "it is for people; name the file of -o FILE.json", "show trace.json"),
    ("models resnet18", "write fwdtrace models --source torchvision 'resnet18*'",
     "models --source torchvision resnet18*"),
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
    (folder / "script.py").write_text(SCRIPT)
    (folder / "dict.py").write_text(OF_DICT)
    torch.save({"x": torch.zeros(1, 4)}, folder / "batch.pt")
    command("run", "lenet", "-o", "trace.json", "-o", "tree.html")
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


def test_help_is_an_option_and_no_command(command: Command) -> None:
    for words, said in ((["help"], "write fwdtrace --help"), (["help", "run"], "write fwdtrace run --help")):
        wrong = command(*words)
        assert (wrong.status, wrong.out) == (2, "") and said in wrong.err


def test_a_program_that_is_not_named_as_one_is_named_in_the_message(command: Command, files: Path) -> None:
    for typed, said in (
        ("exec scirpt.py", "there is no such file, the nearest is 'script.py'"),
        ("exec python script.py", "leave it out, as exec stands in its place: fwdtrace exec script.py"),
        ("script.py --lr 1", "write fwdtrace exec script.py --lr 1 to run it as a program"),
    ):
        wrong = command(*typed.split(" "))
        assert (wrong.status, wrong.out) == (2, "")
        assert said in " ".join(wrong.err.split())
    followed = subprocess.run([sys.executable, "-m", "fwdtrace", "exec", "script.py"], capture_output=True, text=True)
    assert followed.returncode == 0 and "Linear (model): called once" in followed.stderr
