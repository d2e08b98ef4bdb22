"""Where dtypes differ, the module that alone has the wrong one is converted first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.models.spec import Inputs
from fwdtrace.run.once import ReadyModel, RunPlan, run_once
from fwdtrace.trials.copies import Copy
from fwdtrace.trials.time_left import TimeLeft
from tests.helpers.advice import broken


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return x + self.second(self.norm(self.first(x)))


def net(path: str = "") -> nn.Module:
    """Three stages of two blocks, of which one part is of float64."""
    model = nn.Sequential(*(nn.Sequential(Block(), Block()) for _ in range(3)))
    model.get_submodule(path).double()
    return model


@pytest.mark.parametrize("path", ["1.1.second", "1.1", "1", "2.0"])
def test_the_largest_module_of_the_wrong_dtype_is_the_one_to_convert(path: str) -> None:
    fixes = broken(net(path), "2x4x3x3").finding.fixes
    assert fixes[0].text == f"convert all of the module, {path}.to(torch.float32)"
    assert fixes[0].outputs == ((2, 4, 3, 3),)


def test_it_is_found_in_a_model_without_values() -> None:
    with torch.device("meta"):
        ready = ReadyModel(net("1.1.second"), Inputs((torch.ones(2, 4, 3, 3),), {}), on_meta=True, loss=None)
    result = run_once(RunPlan("net.py:net"), ready)
    (finding,) = (each for each in result.trace.findings if each.code == "FT006")
    assert "1.1.second (Conv2d) expects float64, as its parameters are, got float32" in finding.message
    assert finding.site is not None and finding.site.code == "return x + self.second(self.norm(self.first(x)))"
    assert finding.fixes[0].text == "convert all of the module, 1.1.second.to(torch.float32)"


def test_it_is_found_by_the_first_run_however_little_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []

    def run(copy: Copy, changes: tuple[object, ...], **options: object) -> object:
        if changes:
            runs.append(changes)
            monkeypatch.setattr(TimeLeft, "has", lambda self, seconds: seconds == 0.0)
        return once(copy, changes, **options)  # type: ignore[arg-type]

    once = Copy.run
    monkeypatch.setattr(Copy, "run", run)
    case = broken(net("1"), "2x4x3x3")
    assert [fix.text for fix in case.finding.fixes] == ["convert all of the module, 1.to(torch.float32)"]
    assert len(runs) == 1


def test_a_model_that_is_of_one_dtype_is_given_the_same() -> None:
    (first, *_) = broken(net(), "2x4x3x3:float32").finding.fixes
    assert first.text == "give the model input.to(torch.float64)"
