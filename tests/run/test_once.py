"""One model, run once: what its plan says is how it runs, and also a run that fails leaves a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import fwdtrace
from fwdtrace.errors import FwdtraceError, ModelError
from fwdtrace.run.once import Measures, RunPlan, RunResult, calls_so_far, prepare, run_once
from fwdtrace.trace import Value
from tests.helpers.commands import Command


def test_a_trace_is_shown_though_its_values_cannot_be_written(
    command: Command, nets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    ran = command("run", "nets.py:Net", "-i", "x.pt", "--save-values", "full.safetensors", "-o", "t.json")
    assert ran.status == 2 and "--save-values full.safetensors: cannot be written" in ran.err
    assert "inp Linear" in ran.out and fwdtrace.load_trace("t.json").run.values is None


def test_the_model_runs_in_eval_mode_unless_training_is_asked_for(command: Command) -> None:
    assert json.loads(command("run", "--json").out)["model"]["training"] is False
    assert json.loads(command("run", "--json", "--train").out)["model"]["training"] is True


def test_the_seed_decides_weights_and_inputs(command: Command, folder: Path) -> None:
    (folder / "drawn.py").write_text(
        "import random, torch, numpy\n"
        "class Drawn(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.drawn = random.random() + numpy.random.rand() + torch.rand(()).item()\n"
        "    def forward(self, x):\n"
        "        return str(self.drawn + x.sum().item())\n"
    )

    def result(*arguments: str) -> object:
        return json.loads(command("run", "drawn.py:Drawn", "--json", *arguments).out)["calls"][0]["outputs"]

    assert result() == result("--seed", "0") != result("--seed", "1")


def test_inputs_are_given_in_order_and_by_name(command: Command) -> None:
    ran = command("run", "nested", "--json", "--input", "image=2x3x8x8", "-i", "mask=2x8x8:bool", "-i", "scale=scalar")
    inputs = json.loads(ran.out)["calls"][0]["inputs"]
    assert [(leaf["name"], leaf.get("shape")) for leaf in inputs] == [
        ("image", [2, 3, 8, 8]),
        ("mask", [2, 8, 8]),
        ("scale", []),
    ]


ENDS = """
import torch
from torch import nn

from fwdtrace.run.once import calls_so_far


class Fused(nn.Module):
    def forward(self, x):
        return str(torch.backends.mha.get_fastpath_enabled())


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, x):
        self.inner(x)
        return str(calls_so_far())


class Ends(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        raise {"interrupt": KeyboardInterrupt, "raise": ValueError, "exit": SystemExit}[self.how]("no")
"""


def ran(plan: RunPlan) -> RunResult:
    return run_once(plan, prepare(plan))


@pytest.fixture
def ends(folder: Path) -> str:
    (folder / "ends.py").write_text(ENDS, encoding="utf-8")
    return "ends.py"


def test_what_a_model_raises_is_the_cause_of_the_error_beside_the_trace(ends: str) -> None:
    for how, kind in (("raise", ValueError), ("exit", SystemExit)):
        result = ran(RunPlan(f"{ends}:Ends({how!r})"))
        assert isinstance(result.error, ModelError) and isinstance(result.error.__cause__, kind)
        assert [call.class_name for call in result.trace.calls] == ["Ends"]


def test_an_interrupt_is_an_error_that_shows_no_traceback(ends: str) -> None:
    result = ran(RunPlan(f"{ends}:Ends('interrupt')"))
    assert str(result.error) == "interrupted; \"ends.py:Ends('interrupt')\" had run as far as the trace shows"
    assert result.error is not None and result.error.__cause__ is None
    assert [call.class_name for call in result.trace.calls] == ["Ends"]


@pytest.mark.parametrize("fused", [True, False])
def test_the_fused_path_is_allowed_or_not_for_this_run_alone(ends: str, fused: bool) -> None:
    result = ran(RunPlan(f"{ends}:Fused", fused=fused))
    assert result.trace.calls[0].outputs == (Value("", repr(str(fused))),)
    assert torch.backends.mha.get_fastpath_enabled()


def test_calls_are_counted_while_the_model_runs(ends: str) -> None:
    assert ran(RunPlan(f"{ends}:Counts")).trace.calls[0].outputs == (Value("", "'2'"),)
    assert calls_so_far() == 0


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (RunPlan("lenet", device="meta", weights=Path("w.pt")), "--weights w.pt: a model on meta has no place"),
        (
            RunPlan("lenet", device="meta", measures=Measures(save_values=Path("v.safetensors"))),
            "--save-values v.safetensors: a model on meta has no values",
        ),
        (RunPlan("lenet", device="nowhere"), "--device nowhere: cannot be used here"),
        (RunPlan("lenet", measures=Measures(loss="nothing.py:loss")), "there is no file 'nothing.py'"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_before_the_model_runs(plan: RunPlan, message: str) -> None:
    with pytest.raises(FwdtraceError, match=message.replace("(", r"\(")):
        prepare(plan)
