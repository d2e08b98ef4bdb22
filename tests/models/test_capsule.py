"""A call of a model is written into a folder and made again: bit for bit, by a model that is built anew."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from fwdtrace.errors import FwdtraceError
from fwdtrace.models.capsule import Capsule, read_capsule, save_capsule, spec_of
from fwdtrace.models.randomness import random_state


class Noisy(nn.Module):
    """Draws from every generator, and has weights, tied ones, and buffers."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm, self.first, self.drop = nn.BatchNorm1d(width), nn.Linear(width, width), nn.Dropout(0.5)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor, scales: Any = (), *, half: bool = False) -> Tensor:
        h = self.second(self.drop(self.first(self.norm(x))))
        for scale in scales:
            h = h * scale
        return h * random.random() + float(numpy.random.rand()) * half


def saved(folder: Path, model: nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, list[str]]:
    """What the call gave, which is saved before it is made, and what could not be."""
    call = {"entry": "__call__", "args": args, "kwargs": kwargs, "grad": True, "autocast": [("cpu", False, torch.half)]}
    left_out = save_capsule(folder, model, call, random_state())
    return model(*args, **kwargs), left_out


def again(capsule: Capsule, model: nn.Module) -> Tensor:
    capsule.load_into(model)
    with capsule.as_then():
        return model(*capsule.inputs.args, **capsule.inputs.kwargs)  # type: ignore[no-any-return]


def test_a_new_model_gives_the_same_numbers(tmp_path: Path) -> None:
    model = Noisy()
    model.drop.train()
    model.norm.eval()
    output, left_out = saved(tmp_path, model, torch.randn(3, 4), scales=[2.0, torch.tensor(3.0)], half=True)
    assert left_out == []
    capsule = read_capsule(tmp_path / "capsule.json")
    assert torch.equal(again(capsule, Noisy()), output)
    assert capsule.spec == f"{__name__}:Noisy"
    assert "norm" not in capsule.training and "drop" in capsule.training


def test_random_states_are_as_they_were_behind_it(tmp_path: Path) -> None:
    saved(tmp_path, Noisy(), torch.randn(3, 4))
    capsule = read_capsule(tmp_path / "capsule.json")
    model = Noisy()
    before = random_state()
    again(capsule, model)
    assert before.same_as(random_state())


def test_nan_and_infinity_among_the_arguments_are_kept(tmp_path: Path) -> None:
    output, _ = saved(tmp_path, Noisy(), torch.randn(3, 4), scales=(float("inf"), float("nan")))
    text = (tmp_path / "capsule.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    capsule = read_capsule(tmp_path / "capsule.json")
    assert again(capsule, Noisy()).isnan().tolist() == output.isnan().tolist()
    assert capsule.inputs.kwargs["scales"][0] == float("inf")


def test_types_devices_and_plain_containers_are_made_again(tmp_path: Path) -> None:
    class Takes(nn.Linear):
        def forward(self, x: Tensor, **_: Any) -> Tensor:
            return super().forward(x)

    given = {"dtype": torch.bfloat16, "device": torch.device("cuda", 1), "size": torch.Size([2, 3]), "ids": {1, 2}}
    given |= {"rows": slice(1, None), "range": range(2, 9, 3), "names": frozenset("a"), "by_number": {1: (2.5, None)}}
    _, left_out = saved(tmp_path, Takes(2, 2), torch.ones(1, 2), **given)
    assert left_out == []
    assert read_capsule(tmp_path / "capsule.json").inputs.kwargs == given


class Pair:
    """No plain value."""

    def __iter__(self) -> Any:
        return iter((1, 2))


def test_what_cannot_be_written_is_said_and_the_call_is_not_made_without_it(tmp_path: Path) -> None:
    _, left_out = saved(tmp_path, Noisy(), torch.randn(3, 4), scales=Pair())
    assert left_out == [f"kwargs.scales: a {__name__}.Pair"]
    with pytest.raises(FwdtraceError, match=r"cannot be made again, as this was not written: kwargs\.scales"):
        read_capsule(tmp_path / "capsule.json")


def test_a_model_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path) -> None:
    saved(tmp_path, Noisy(), torch.randn(3, 4))
    capsule = read_capsule(tmp_path / "capsule.json")
    with pytest.raises(FwdtraceError, match=r"does not fit; name that one: fwdtrace run '.*:Noisy\(…\)' --capsule"):
        capsule.load_into(Noisy(5))


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}', '{"format": "fwdtrace.capsule/1"}'])
def test_what_is_no_capsule_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "capsule.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(FwdtraceError):
        read_capsule(file)


def test_a_model_that_is_built_from_its_layers_has_to_be_named() -> None:
    assert spec_of(nn.ReLU()) == "torch.nn.modules.activation:ReLU"
    assert spec_of(nn.Sequential(nn.Linear(2, 2))) is None
