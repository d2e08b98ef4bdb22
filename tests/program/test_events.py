"""What is not finite in a program is noticed at once and explained by a replay, and the program runs as without us."""

from __future__ import annotations

import os
import random
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fwdtrace.program import events as events_file
from fwdtrace.program.signals import heed_signal, ignore_signal
from fwdtrace.program.wanted import Looks, Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.session import running
from fwdtrace.trace import Trace

NUMBERS = Looks(nonfinite=True, last=3)
LOOKS = Wanted(looks=True, alone=True)


@contextmanager
def watched(stop_after: int | None = None, looks: Looks = NUMBERS) -> Iterator[list[Trace]]:
    """The events of the block."""
    events: list[Trace] = []

    def keep(trace: Trace) -> bool:
        events.append(trace)
        return len(events) == stop_after

    watch = Watch(LOOKS, Options(), lambda kept: False, keep_event=keep, looks=looks)
    watch.begin()
    try:
        yield events
    finally:
        watch.end()
    assert running.session is None


def told(event: Trace) -> tuple[Any, ...]:
    """Step, call, how it ran again, and the line to blame."""
    lines = [finding.site.code if finding.site else "" for finding in event.findings if finding.code == "FT005"]
    return event.run.step, event.run.call, event.run.replay, lines


class Net(nn.Module):
    """Draws random numbers, and goes wrong where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop, self.head = nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 4)

    def forward(self, x: Tensor, scale: float = 1.0, shift: float = 1.0) -> Tensor:
        hidden = self.drop(torch.relu(self.body(x))) * random.random()
        hidden = torch.log(torch.softmax(hidden * scale, -1) + 1e-30 * (scale < 100))
        return torch.sqrt(self.head(hidden).square() * (shift > 0) + shift)


def batches(steps: int = 12) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(6, 4, generator=generator) for _ in range(steps)]


def train(net: nn.Module, before: Callable[[int], dict[str, Any]], steps: int = 12) -> list[Any]:
    """The losses of a loop, and the weights in the end."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    losses = []
    for step, x in enumerate(batches(steps), 1):
        optimizer.zero_grad()
        loss = net(x, **before(step)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return [losses, [parameter.detach().clone() for parameter in net.parameters()]]


FORWARD = "hidden = torch.log(torch.softmax(hidden * scale, -1) + 1e-30 * (scale < 100))"
BACKWARD = "return torch.sqrt(self.head(hidden).square() * (shift > 0) + shift)"


@pytest.mark.parametrize(
    ("wrong", "line"), [({"scale": 1e6}, FORWARD), ({"shift": 0.0}, BACKWARD)], ids=["forward", "backward"]
)
def test_the_step_the_call_and_the_line_are_named(wrong: dict[str, float], line: str) -> None:
    with watched() as events:
        train(Net(), lambda step: wrong if step == 7 else {})
    assert [told(event) for event in events] == [(7, 7, "exact", [line])]
    (event,) = events
    assert event.run.event == "nonfinite"
    expected = [4, 5, 6] if line == FORWARD else [5, 6, 7]
    assert [step.number for step in event.run.last_steps] == expected
    assert [step.learning_rates for step in event.run.last_steps] == [(0.01,)] * 3
    assert [step.gradient_norm is None for step in event.run.last_steps] == [False, False, line == BACKWARD]


@pytest.mark.parametrize("wrong", [{"scale": 1e6}, {"shift": 0.0}, {}])
def test_losses_and_weights_are_those_of_the_bare_program(wrong: dict[str, float]) -> None:
    def seeded() -> list[Any]:
        torch.manual_seed(3)
        random.seed(3)
        return train(Net(), lambda step: wrong if step == 7 else {})

    bare = seeded()
    with watched() as events:
        seen = seeded()
    assert len(events) == bool(wrong)
    assert repr(seen[0]) == repr(bare[0])
    assert all(torch.equal(one.nan_to_num(), two.nan_to_num()) for one, two in zip(seen[1], bare[1], strict=True))


def test_infinities_that_are_meant_are_no_event() -> None:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).masked_fill(torch.eye(4, dtype=torch.bool)[:1], float("-inf"))

    with watched() as events:
        net = Policy()
        for _ in range(3):
            net(torch.ones(2, 4)).softmax(-1).square().sum().backward()  # type: ignore[no-untyped-call]
        assert events == []
        net(torch.full((2, 4), float("nan")))
    assert len(events) == 1


def test_what_stays_wrong_is_one_event_and_what_comes_again_is_another() -> None:
    with watched() as events:
        net = nn.Linear(4, 4)
        for factor in (1.0, float("nan"), float("nan"), 1.0, float("nan")):
            net(torch.ones(2, 4) * factor)
    assert [event.run.call for event in events] == [2, 5]


def test_with_gradients_that_are_accumulated_the_call_at_fault_is_named() -> None:
    with watched() as events:
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(3):
            for part in range(4):
                net(torch.ones(6, 4), shift=0.0 if (step, part) == (1, 1) else 1.0).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert [told(event) for event in events] == [(2, 6, "exact", [BACKWARD])]


class Checkpointed(Net):
    def forward(self, x: Tensor, scale: float = 1.0, shift: float = 1.0) -> Any:
        return checkpoint(super().forward, x, scale, shift, use_reentrant=False)


def test_a_checkpointed_model_is_explained() -> None:
    with watched() as events:
        train(Checkpointed(), lambda step: {"shift": 0.0} if step == 3 else {})
    assert [told(event) for event in events] == [(3, 3, "exact", [BACKWARD])]


class Pair(nn.Module):
    """Returns what the loss is computed from, of which one is computed from the others."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 6), nn.Linear(3, 4)

    def forward(self, x: Tensor, spoil: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = self.encoder(x).chunk(2, -1)
        hidden = mean + torch.randn_like(mean) * torch.exp(spread)
        if spoil:
            hidden = torch.sqrt(hidden * 0)
        return self.decoder(hidden), mean, spread


def test_gradients_that_come_to_several_outputs_are_those_that_had_come() -> None:
    with watched() as events:
        net = Pair()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step, x in enumerate(batches(5), 1):
            result, mean, spread = net(x, step == 4)
            loss = (result - x).square().mean() + (mean.square() + spread.exp() - spread).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert [told(event) for event in events] == [(4, 4, "exact", ["hidden = torch.sqrt(hidden * 0)"])]


def test_a_closure_is_looked_at_before_the_optimizer_writes() -> None:
    with watched() as events:
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(4):

            def closure(shift: float = float(step != 2)) -> Tensor:
                optimizer.zero_grad()
                loss = net(torch.ones(6, 4), shift=shift).mean()
                loss.backward()  # type: ignore[no-untyped-call]
                return loss

            optimizer.step(closure)  # type: ignore[arg-type]
    assert [told(event) for event in events] == [(3, 3, "exact", [BACKWARD])]


def test_two_models_in_turn_are_told_apart() -> None:
    with watched() as events:
        maker, judge = Net(), nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        made_by = torch.optim.Adam(maker.parameters(), lr=0.01)
        judged_by = torch.optim.Adam(judge.parameters(), lr=0.01)
        for step, x in enumerate(batches(6), 1):
            made = maker(x, shift=0.0 if step == 5 else 1.0)
            judged_by.zero_grad()
            (judge(made.detach()).mean() - judge(x).mean()).backward()  # type: ignore[no-untyped-call]
            judged_by.step()
            made_by.zero_grad()
            judge(made).mean().backward()
            made_by.step()
    assert [told(event) for event in events] == [(5, 5, "exact", [BACKWARD])]
    assert events[0].model.class_name.endswith("Net")


@pytest.mark.parametrize("steps", [True, False])
def test_gradients_before_which_no_optimizer_stepped_are_said_to_be_left(steps: bool) -> None:
    watch = Watch(LOOKS, Options(), lambda kept: False, looks=NUMBERS)
    watch.begin()
    net = nn.Linear(2, 2)
    net(torch.ones(1, 2)).sum().backward()
    if steps:
        torch.optim.SGD(net.parameters(), lr=0.1).step()
    watch.end()
    assert ("the last backward left gradients" in watch.why_nothing_was_kept()) is not steps


def test_a_step_that_a_scaler_leaves_out_is_no_event() -> None:
    with watched() as events:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        for _ in range(20):
            optimizer.zero_grad()
            scaler.scale(net(torch.ones(2, 4) * 64).mean()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert events == []


def test_steps_that_a_scaler_leaves_out_without_end_are_an_event() -> None:
    with watched() as events:
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu")
        for step in range(40):
            optimizer.zero_grad()
            scaler.scale(net(torch.ones(6, 4), shift=1.0 if step < 4 else 0.0).mean()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert [told(event) for event in events] == [(5, 17, "exact", [BACKWARD])]


def test_the_program_ends_at_the_event_if_asked_to() -> None:
    with pytest.raises(SystemExit), watched(stop_after=1) as events:
        train(Net(), lambda step: {"shift": 0.0} if step == 2 else {})
    assert [told(event) for event in events] == [(2, 2, "exact", [BACKWARD])]


def test_no_argument_lives_longer_than_the_step() -> None:
    alive: list[int] = []
    references: list[weakref.ref[Tensor]] = []

    with watched():
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            x = torch.rand(6, 4)
            references.append(weakref.ref(x))
            loss = net(x).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            del x
            alive.append(sum(reference() is not None for reference in references))
            for _ in range(2):
                y = torch.rand(6, 4)
                references.append(weakref.ref(y))
                unused = net(y)
                del y, unused
            alive.append(sum(reference() is not None for reference in references))
    assert alive == [0] * 6


def test_a_call_that_takes_much_longer_than_usual_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    class Takes(nn.Linear):
        def forward(self, x: Tensor, seconds: float = 0.25) -> Tensor:
            clock.append(clock[-1] + seconds)
            return super().forward(x)

    clock = [0.0]
    monkeypatch.setattr(events_file, "perf_counter", lambda: clock[-1])
    with watched(looks=Looks(slow=10.0)) as events:
        net = Takes(4, 4)
        for _ in range(24):
            net(torch.ones(1, 4))
        net(torch.ones(1, 4), seconds=8.0)
        net(torch.ones(1, 4))
    (event,) = events
    assert (event.run.call, event.run.event, event.run.replay) == (25, "slow", "exact")
    assert (event.run.first_us, event.run.usual_us) == (8e6, 0.25e6)


def test_after_a_signal_the_next_call_is_recorded() -> None:
    heed_signal()
    try:
        with watched(looks=Looks()) as events:
            net = nn.Linear(4, 4)
            for call in range(4):
                if call == 2:
                    os.kill(os.getpid(), signal.SIGUSR1)
                net(torch.ones(1, 4))
        assert [(event.run.event, event.run.call, event.run.replay) for event in events] == [("signal", 3, None)]
    finally:
        ignore_signal()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_the_losses_that_a_model_returned_before_are_told_by_step() -> None:
    class WithLoss(Net):
        def forward(self, x: Tensor, scale: float = 1.0, shift: float = 1.0) -> Any:
            output = super().forward(x, scale, shift)
            return {"loss": output.mean(), "output": output}

    losses = []
    with watched() as events:
        net = WithLoss()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for step, x in enumerate(batches(6), 1):
            loss = net(x, shift=0.0 if step == 5 else 1.0)["loss"]
            losses.append(float(loss.detach()))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    (event,) = events
    outputs = [[(each.call, each.name, each.value) for each in step.outputs] for step in event.run.last_steps]
    assert outputs == [[(call, ".loss", losses[call - 1])] for call in (3, 4, 5)]
