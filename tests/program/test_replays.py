"""Whatever happens in a replay, the program ends as it would without one, and what was recorded is on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fwdtrace import load_trace
from fwdtrace.recorder.recording import Recording
from tests.helpers.commands import CHILDS_PATH, HANG, ending, finish
from tests.program.test_events import told, watched

PROGRAM = """\
import os
import pathlib
import signal
import sys
import time

import torch

runs = []


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x):
        runs.append(1)
        x = torch.sqrt(self.layer(x) - 100)
        if len(runs) == 2:
            exec(sys.argv[1])
        return x


exec(sys.argv[2])
try:
    Net()(torch.ones(2, 4))
finally:
    print("the program ends, after", len(runs), "runs")
"""

WAIT = "pathlib.Path('again').touch(); time.sleep(3000)"
LINE = "x = torch.sqrt(self.layer(x) - 100)"


def started(folder: Path, in_replay: str, before: str = "", *options: str) -> subprocess.Popen[str]:
    (folder / "train.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "fwdtrace", "exec", "--on", "nonfinite", *options, "-o", "t.json", "train.py"]
    return subprocess.Popen(
        [*command, in_replay, before], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": CHILDS_PATH, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def interrupted(program: subprocess.Popen[str], number: signal.Signals, folder: Path) -> tuple[str, str]:
    """What is printed by a program that gets a signal in the middle of a replay."""
    with ending(program):
        end = time.monotonic() + HANG
        while not (folder / "again").exists():
            assert program.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        program.send_signal(number)
        return program.communicate(timeout=HANG)


def test_what_a_model_raises_to_end_the_program_ends_only_the_replay(tmp_path: Path) -> None:
    ran = finish(started(tmp_path, "sys.exit(3)"))
    assert (ran.status, ran.out) == (0, "the program ends, after 2 runs\n"), ran.err
    run = load_trace(tmp_path / "t.json").run
    assert (run.replay, run.replay_reason) == ("inexact", "the replay raised SystemExit")


@pytest.mark.parametrize(
    ("before", "number", "status"),
    [
        ("", signal.SIGINT, -signal.SIGINT),
        ("signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(5))", signal.SIGTERM, 5),
    ],
)
def test_what_a_signal_raises_in_a_replay_ends_the_program_as_it_would(
    before: str, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    program = started(tmp_path, WAIT, before)
    out, err = interrupted(program, number, tmp_path)
    assert (program.returncode, out) == (status, "the program ends, after 2 runs\n"), err
    trace = load_trace(tmp_path / "t.json")
    assert told(trace)[2:] == ("inexact", [LINE])


def test_a_replay_is_saved_as_far_as_it_has_come_when_the_program_is_killed(tmp_path: Path) -> None:
    program = started(tmp_path, WAIT)
    out, err = interrupted(program, signal.SIGTERM, tmp_path)
    assert (program.returncode, out) == (-signal.SIGTERM, "")
    trace = load_trace(tmp_path / "t.json")
    assert told(trace) == (None, 1, "inexact", [LINE])
    assert trace.run.replay_reason == "the program was killed before it had ended"
    assert err.endswith("fwdtrace: saved t.json\n")


@pytest.mark.sweep
def test_what_was_recorded_before_is_whole_when_the_program_is_killed_at_once(tmp_path: Path) -> None:
    first = "net = Net(); net.layer.bias.data += 200; net(torch.ones(2, 4)); runs.clear()"
    program = started(tmp_path, WAIT, first, "--first", "1")
    out, _ = interrupted(program, signal.SIGKILL, tmp_path)
    assert (program.returncode, out) == (-signal.SIGKILL, "")
    trace = load_trace(tmp_path / "t.json")
    assert [call.class_name for call in trace.calls] == ["Net", "Linear"]
    load_trace(tmp_path / "t.Net.json")
    assert {file.name for file in tmp_path.iterdir()} == {"train.py", "again", "t.json", "t.Net.json"}


class Loss(nn.Module):
    def forward(self, x: Tensor, factor: float) -> Tensor:
        return torch.log(x.sigmoid() * factor).mean()


def losses(net: nn.Module, wrong: int) -> None:
    """Train a net with a loss that is a module, and goes wrong at one step."""
    criterion, optimizer = Loss(), torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(1, 7):
        optimizer.zero_grad()
        criterion(net(torch.ones(2, 4)), float(step != wrong)).backward()
        optimizer.step()


def test_a_loss_that_is_a_module_is_one_event_to_the_end() -> None:
    with watched() as events:
        losses(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), 3)
    assert [told(event)[1:] for event in events] == [(3, "exact", ["return torch.log(x.sigmoid() * factor).mean()"])]
    assert events[0].model.class_name.endswith("Loss")


class Logarithm(nn.Module):
    factor = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x.sigmoid() * self.factor)


def test_what_went_through_another_model_is_one_event() -> None:
    with watched() as events:
        maker, judge = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), Logarithm())
        optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (maker, judge)]
        for step in range(1, 4):
            judge[1].factor = float(step != 2)  # type: ignore[assignment]
            judge(maker(torch.ones(2, 4))).mean().backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    assert [told(event)[1] for event in events] == [2]


class Distance(nn.Module):
    """A loss with weights of its own that are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor, factor: float) -> Tensor:
        distance = (self.features(x) - self.features(y)).abs()
        return torch.sqrt(distance * factor).mean()


def test_an_average_of_spoiled_weights_is_no_further_event() -> None:
    with watched() as events:
        net = nn.Linear(4, 1)
        average = torch.optim.swa_utils.AveragedModel(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for factor in (1.0, float("nan"), 1.0):
            optimizer.zero_grad()
            net(torch.ones(2, 4) * factor).sum().backward()
            optimizer.step()
            average.update_parameters(net)
            average(torch.ones(2, 4))
    assert [event.run.call for event in events] == [2]


def test_of_several_losses_the_one_whose_backward_went_wrong_is_named() -> None:
    with watched() as events:
        net, distance, error = nn.Sequential(nn.Linear(4, 4)), Distance(), nn.MSELoss()
        optimizer = torch.optim.Adam(net.parameters())
        for step in range(1, 6):
            x = torch.rand(2, 4)
            y = net(x)
            loss = distance(y, x, float(step != 3)) + error(y, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert [told(event) for event in events] == [(3, 3, "exact", ["return torch.sqrt(distance * factor).mean()"])]


def test_of_several_calls_in_one_loss_and_statements_on_one_line_those_that_count_are_found() -> None:
    with watched() as events:
        net = nn.Linear(4, 4)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(3):
            x = torch.ones(2, 4)
            one, two = net(x + 1), net(x)
            if step == 1:
                one = two.flip(0)
            far = (one - two).square().sum(1).sqrt()
            optimizer.zero_grad(); far.mean().backward(); optimizer.step()  # fmt: skip # noqa: E702
    (event,) = events
    ((message, site),) = [(each.message, each.site) for each in event.findings if each.code == "FT005"]
    assert message.startswith("the backward of Tensor.sqrt in the loss made")
    assert site is not None and "far =" in (site.code or "")


@pytest.mark.parametrize("kind", ["penalty on the weights", "penalty on a gradient"])
def test_what_comes_to_the_weights_beside_the_output_is_found(kind: str) -> None:
    with watched() as events:
        net = nn.Sequential(nn.Linear(4, 4), nn.Softplus(), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(3):
            x = torch.ones(2, 4).requires_grad_()
            if kind == "penalty on the weights":
                loss = net(x).mean()
                size = (net[0].weight * (step != 1)).square().sum()
            else:
                (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
                size = (slope * (step != 1)).square().sum()
                loss = net(x).mean()
            loss = loss + size.sqrt()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    (event,) = events
    ((message, site),) = [(each.message, each.site) for each in event.findings if each.code == "FT005"]
    assert message.startswith("the backward of Tensor.sqrt in the loss made")
    assert site is not None and "size.sqrt()" in (site.code or "")


def test_a_loss_holds_nothing_beyond_the_step() -> None:
    alive: list[Any] = []
    with watched():
        net, criterion = nn.Linear(4, 4), Loss()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        output = net(torch.ones(2, 4))
        held = weakref.ref(output)
        criterion(output, 1.0).backward()
        optimizer.step()
        del output
        alive.append(held())
    assert alive == [None]


def test_complex_numbers_are_looked_at() -> None:
    class Spectrum(nn.Linear):
        def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
            return torch.fft.fft(super().forward(x)) / factor

    with watched() as events:
        net = Spectrum(4, 4)
        for factor in (1.0, 0.0, 1.0):
            net(torch.ones(2, 4), factor)
    assert [told(event) for event in events] == [
        (None, 2, "exact", ["return torch.fft.fft(super().forward(x)) / factor"])
    ]


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor, shown: float) -> Tensor:
        y = self.layer(x)
        return y + (y * shown).abs().sqrt()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
@pytest.mark.parametrize(("shown", "calls"), [((1.0, 0.0), [3]), ((0.0, 0.0), [3, 3])])
def test_what_goes_wrong_before_the_steps_of_several_optimizers_is_one_event_for_each_cause(
    order: tuple[int, ...], shown: tuple[float, float], calls: list[int]
) -> None:
    with watched() as events:
        nets = body, one, other = nn.Linear(4, 4), Head(), Head()
        optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in nets]
        for step in range(1, 5):
            hidden = body(torch.ones(2, 4))
            factors = shown if step == 3 else (1.0, 1.0)
            (one(hidden, factors[0]) + other(hidden, factors[1])).square().mean().backward()
            for place in order:
                optimizers[place].step()
                optimizers[place].zero_grad()
    assert [(event.run.call, told(event)[3]) for event in events] == [
        (call, ["return y + (y * shown).abs().sqrt()"]) for call in calls
    ]
    assert {event.model.class_name.rpartition(".")[2] for event in events} == {"Head"}


def test_a_recording_that_fails_is_said_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    finish, times = Recording._finish, [0]

    def fails_at_first(recording: Recording, *given: Any) -> Any:
        times[0] += 1
        if times[0] == 1:
            raise ValueError("an unknown kind of tensor")
        return finish(recording, *given)

    monkeypatch.setattr(Recording, "_finish", fails_at_first)
    with watched() as events:
        net = nn.Linear(4, 4)
        for factor in (1.0, float("nan")):
            net(torch.ones(2, 4) * factor)
    assert [(event.run.replay, event.run.replay_reason) for event in events] == [
        ("inexact", "it could not be recorded: ValueError: an unknown kind of tensor")
    ]


def test_an_argument_that_holds_itself_ends_nothing() -> None:
    class Takes(nn.Linear):
        def forward(self, x: Tensor, extra: Any) -> Tensor:
            return super().forward(x)

    extra: list[Any] = [1]
    extra.append(extra)
    with watched() as events:
        net = Takes(4, 4)
        for factor in (1.0, float("nan"), 1.0):
            net(torch.ones(2, 4) * factor, extra)
    assert [(event.run.call, event.run.replay_reason) for event in events] == [(2, "the replay raised RecursionError")]
