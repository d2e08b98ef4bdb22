"""A run without `--input`: the model gets what it can take, and a guess that fails is not called its fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwdtrace.run.once import RunPlan, RunResult, prepare, run_once
from fwdtrace.trace import shapes_in
from tests.helpers.commands import Command

MODELS = """
import torch
import torch.nn.functional as F
from torch import nn

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 2)
    def forward(self, ids):
        batch, length = ids.shape
        return self.head(self.embed(ids))

class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 13 * 13, 10)
    def forward(self, x):
        return self.head(F.max_pool2d(self.conv(x), 2).flatten(1))

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 20 * 20, 10)
    def forward(self, x):
        return self.head(self.conv(x).flatten(1))

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 2)
    def forward(self, source, target):
        return self.head(self.embed(source) + self.embed(target))

class Example(nn.Module):
    def __init__(self):
        super().__init__()
        self.example_input_array = torch.zeros(5, 3)
        self.head = nn.Linear(3, 2)
    def forward(self, x):
        return self.head(x)

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(7, 2), nn.Linear(3, 4)
    def forward(self, x):
        return self.second(self.first(x))

class Refuses(nn.Module):
    def forward(self, x):
        raise ValueError("not today")
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    (tmp_path / "nets.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> RunResult:
        plan = RunPlan(f"nets.py:{name}")
        return run_once(plan, prepare(plan))

    return run


@pytest.mark.parametrize(
    ("name", "tried", "shapes"),
    [
        ("Tokens", ("1x8:int64:0..50",), ((1, 8),)),
        ("Digits", ("1x1x28x28",), ((1, 1, 28, 28),)),
        ("Odd", ("1x3x20x20",), ((1, 3, 20, 20),)),
        ("Pair", ("1x8:int64:0..50", "1x8:int64:0..50"), ((1, 8), (1, 8))),
        ("Example", (), ((5, 3),)),
    ],
)
def test_a_model_gets_what_it_can_take(
    ran: object, name: str, tried: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]
) -> None:
    result: RunResult = ran(name)  # type: ignore[operator]
    assert result.error is None and result.trace.findings == ()
    assert result.tried == tried
    assert shapes_in(result.trace.calls[0].inputs) == shapes


def test_what_fails_behind_a_guess_that_fits_the_first_layer_is_shown_with_that_guess(ran: object) -> None:
    result: RunResult = ran("Broken")  # type: ignore[operator]
    (finding,) = result.trace.findings
    assert result.error is not None
    assert finding.message.startswith(
        "no --input was given: this is with --input 1x7, a guess, and the model may want another; second (Linear)"
        " expects 3 features, got 2"
    )


def test_what_raises_whatever_it_is_given_says_first_that_nobody_gave_it(ran: object) -> None:
    (finding,) = ran("Refuses").trace.findings  # type: ignore[operator]
    assert finding.message.startswith("no --input was given: this is with --input 1x3x32x32, a guess")


def test_an_input_that_was_tried_is_shown_as_the_option_to_type(command: Command, folder: Path) -> None:
    (folder / "nets.py").write_text(MODELS)
    ran = command("run", "nets.py:Tokens")
    assert ran.status == 0
    assert ran.err.splitlines()[-1] == (
        "fwdtrace: no --input was given; the model takes --input 1x8:int64:0..50, and ran with that"
    )
    assert command("run", "nets.py:Tokens", "--input", "1x8:int64:0..50").err == ""


@pytest.mark.parametrize("options", [["nets.py:Tokens"], ["--direct-forward"]])
def test_a_comparison_gives_what_the_model_can_take_too(command: Command, folder: Path, options: list[str]) -> None:
    (folder / "nets.py").write_text(MODELS)
    ran = command("compare", "nets.py:Tokens", *options)
    assert (ran.status, ran.err) == (0, "")
    assert "no --input was given; the model takes --input 1x8:int64:0..50, and ran with that" in " ".join(
        ran.out.split()
    )


@pytest.mark.parametrize("options", [["nets.py:Broken"], ["--direct-forward"]])
def test_a_comparison_says_of_a_model_that_raises_that_nobody_gave_it_inputs(
    command: Command, folder: Path, options: list[str]
) -> None:
    (folder / "nets.py").write_text(MODELS)
    ran = command("compare", "nets.py:Broken", *options)
    assert ran.status == 2
    assert "no --input was given: this is with --input 1x7, a guess" in " ".join((ran.out + ran.err).split())
