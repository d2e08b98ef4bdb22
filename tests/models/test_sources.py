"""Models of libraries and of saved programs, as `fwdtrace run` takes them."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from fwdtrace import load_trace
from fwdtrace.models.zoo.lenet import LeNet
from tests.helpers.commands import Command

SMALL = "num_hidden_layers=2, hidden_size=32, intermediate_size=64, num_attention_heads=4, vocab_size=99"

SOURCE = """
from torch import nn


def names():
    return ["linear", "conv"]


def load(name, width=4):
    return nn.Linear(3, width), ["2x3"]
"""


@pytest.mark.parametrize(
    ("spec", "root", "shape"),
    [
        ("torchvision:resnet18", "ResNet", (1, 3, 224, 224)),
        ("torchvision:resnet18(num_classes=7)", "ResNet", (1, 3, 224, 224)),
        ("timm:test_resnet", "ResNet", (1, 3, 160, 160)),
        (f"transformers:llama({SMALL})", "LlamaForCausalLM", (1, 16)),
        (f"transformers:bert({SMALL})", "BertModel", (1, 16)),
    ],
)
def test_a_model_of_a_library_gets_the_input_that_the_library_says(
    command: Command, folder: Path, spec: str, root: str, shape: tuple[int, ...]
) -> None:
    ran = command("run", spec, "--no-ops", "-o", "t.json")
    assert ran.status == 0, ran.err
    trace = load_trace("t.json")
    assert trace.calls[0].class_name == root
    assert trace.calls[0].inputs[0].shape == shape  # type: ignore[union-attr]
    assert trace.model.spec == spec


@pytest.mark.parametrize("spec", ["transformers:saved", "transformers:saved/config.json"])
def test_a_config_in_a_folder_is_enough(command: Command, folder: Path, spec: str) -> None:
    (folder / "saved").mkdir()
    config = {"model_type": "gpt2", "n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 50}
    (folder / "saved" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert command("run", spec, "--no-ops", "-o", "t.json").status == 0
    assert len(load_trace("t.json").at("h.2" if load_trace("t.json").at("h.2") else "transformer.h.2")) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "torchvision:resnet19"], "torchvision has no model 'resnet19', the nearest is 'resnet18'"),
        (["run", "timm:test_resnet_"], "timm has no model 'test_resnet_', the nearest is 'test_resnet"),
        (["run", "transformers:lama"], "transformers has no model type 'lama', the nearest is 'llama'"),
        (["models", "--source", "tim"], "there is no source 'tim', the nearest is 'timm'; there are torchvision, timm"),
        (["models", "--source", "timm", "nothing*"], "no timm model is named like 'nothing*'"),
        (["run", "nowhere.pt2"], "there is no file 'nowhere.pt2'"),
        (
            ["run", "weights.pt"],
            "'weights.pt' is no TorchScript program; it holds weights: write file.py:Name",
        ),
        (["run", "weights.pt2"], "'weights.pt2' is no exported program"),
        (["run", "lenet", "--weights", "nowhere.pt"], "--weights nowhere.pt"),
        (["run", "lenet", "--device", "meta", "--weights", "weights.pt"], "--weights weights.pt: a model on meta has"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_a_source_does_not_have_is_an_error_of_one_line(
    command: Command, folder: Path, arguments: list[str], error: str
) -> None:
    for name in ("weights.pt", "weights.pt2"):
        torch.save(LeNet().state_dict(), folder / name)
    ran = command(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"fwdtrace: {error}"), ran.err
    assert ran.err.count("\n") == 1


def test_a_file_that_is_no_exported_program_is_one_line_and_no_log_of_torch(folder: Path) -> None:
    torch.save(LeNet().state_dict(), folder / "weights.pt2")
    ran = subprocess.run([sys.executable, "-m", "fwdtrace", "run", "weights.pt2"], capture_output=True, text=True)
    line = "fwdtrace: 'weights.pt2' is no exported program; torch.export.save writes one\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", line)


@pytest.mark.parametrize("name", ["torchvision", "timm", "transformers"])
def test_a_library_that_is_absent_is_named_with_its_extra(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Absent(name), *sys.meta_path])
    error = f"{name} is not installed; it comes with the extra fwdtrace[{name}]; run `pip install {name}`"
    assert command("run", f"{name}:any").err == f"fwdtrace: {error}\n"


class Absent:
    """A finder by which a library is not found."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self.name)


def test_names_are_listed_by_a_pattern(command: Command) -> None:
    listed = command("models", "--source", "timm", "vit_tiny_patch16_*").out.split()
    assert "vit_tiny_patch16_224" in listed and all(name.startswith("vit_tiny_patch16_") for name in listed)
    assert "llama" in command("models", "--source", "transformers").out.split()


def test_a_library_adds_a_source_by_an_entry_point(command: Command, folder: Path) -> None:
    (folder / "acme_models.py").write_text(SOURCE, encoding="utf-8")
    (folder / "acme-1.0.dist-info").mkdir()
    (folder / "acme-1.0.dist-info" / "METADATA").write_text("Name: acme\nVersion: 1.0\n", encoding="utf-8")
    (folder / "acme-1.0.dist-info" / "entry_points.txt").write_text(
        "[fwdtrace.sources]\nacme = acme_models\n", encoding="utf-8"
    )
    sys.path.insert(0, str(folder))
    assert command("run", "acme:linear(width=5)", "-o", "t.json").status == 0
    assert [leaf.shape for leaf in load_trace("t.json").calls[0].outputs] == [(2, 5)]  # type: ignore[union-attr]
    assert command("models", "--source", "acme").out == "linear\nconv\n"


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_runs_on_what_it_was_exported_with(command: Command, folder: Path) -> None:
    torch.export.save(torch.export.export(LeNet().eval(), (torch.rand(2, 3, 32, 32),), strict=False), "net.pt2")
    ran = command("run", "net.pt2", "-o", "t.json")
    assert ran.status == 0, ran.err
    trace = load_trace("t.json")
    assert trace.calls[0].inputs[0].shape == (2, 3, 32, 32)  # type: ignore[union-attr]
    assert trace.ops is not None and any("conv2d" in op.name for op in trace.ops)
    assert "leave --train off" in command("run", "net.pt2", "--train").err


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_program_is_one_call_and_says_so(command: Command, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(LeNet().eval()).save("net.pt")
    ran = command("run", "net.pt")
    assert ran.status == 0, ran.err
    assert "__call__ → script" in ran.out and "is TorchScript: the calls inside it run in" in ran.out
