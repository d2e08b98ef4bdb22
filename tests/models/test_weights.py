"""`--weights FILE`: the model computes with the weights of the file, and what does not fit is named."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fwdtrace import load_trace
from fwdtrace.errors import FwdtraceError
from fwdtrace.models.weights import load_weights
from fwdtrace.models.zoo.lenet import LeNet
from tests.helpers.commands import REPOSITORY, Command


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_from_a_file_are_what_the_model_computes_with(command: Command, folder: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    state = {name: torch.zeros_like(tensor) for name, tensor in LeNet().state_dict().items()}
    state["f7.bias"] = torch.full((10,), 7.0)
    (torch.save if suffix == ".pt" else save_file)(state, f"w{suffix}")
    command("run", "lenet", "--weights", f"w{suffix}", "--stats", "-o", "t.json")
    leaf = load_trace("t.json").calls[0].outputs[0]
    assert leaf.stats.min == leaf.stats.max == 7.0  # type: ignore[union-attr]


def test_weights_that_do_not_fit_are_named(command: Command, folder: Path) -> None:
    state = LeNet().state_dict()
    del state["f7.bias"]
    torch.save({**state, "f6.weight": torch.zeros(2, 2), "extra": torch.zeros(1)}, "w.pt")
    error = command("run", "lenet", "--weights", "w.pt").err
    assert all(text in error for text in ("f7.bias", "f6.weight is 2×2 and not 84×120", "extra"))


def test_the_state_dict_in_a_checkpoint_is_found(folder: Path) -> None:
    layer = nn.Linear(2, 1)
    torch.save({"epoch": 3, "model": {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}}, "checkpoint.pt")
    load_weights(layer, folder / "checkpoint.pt")
    assert layer.weight.tolist() == [[1.0, 1.0]]


def test_one_of_the_names_of_a_shared_parameter_is_enough(folder: Path) -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "head": nn.Linear(2, 3, bias=False)})
    model["head"].weight = model["embedding"].weight
    torch.save({"embedding.weight": torch.ones(3, 2)}, "w.pt")
    load_weights(model, folder / "w.pt")
    assert model["head"].weight.tolist() == [[1.0, 1.0]] * 3


def test_a_file_that_needs_safetensors_names_an_extra_that_exists(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "w.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(FwdtraceError, match="run `pip install safetensors`") as refused:
        load_weights(nn.Linear(2, 1), folder / "w.safetensors")
    (extra,) = re.findall(r"fwdtrace\[(\w+)\]", str(refused.value))
    assert f"\n{extra} = [" in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
