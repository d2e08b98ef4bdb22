"""Numbers that are not finite in models that talk to other ranks, as one process sees it that is the only rank."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fwdtrace.program import events as events_file
from fwdtrace.render.happened import replay_text
from tests.program.test_events import told, watched


class Net(nn.Module):
    """Goes wrong in backward where nothing is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor, shown: float = 1.0) -> Tensor:
        x = self.norm(self.layer(x))
        return x + (x * shown).square().sum(1, keepdim=True).sqrt()


BACKWARD = "return x + (x * shown).square().sum(1, keepdim=True).sqrt()"


@pytest.fixture(autouse=True)
def one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call has used a process group, of which this process is the only rank."""
    monkeypatch.setattr(events_file, "groups_used", lambda before: {"all"})
    monkeypatch.setattr(events_file, "least", lambda groups, model, *numbers: [int(number) for number in numbers])


def test_an_evaluation_that_other_ranks_may_not_have_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_file, "all_call", lambda module, before: False)
    with watched() as events, torch.no_grad():
        model = Net().eval()
        for factor in (1.0, float("nan"), float("nan")):
            model(torch.ones(2, 4) * factor)
    (event,) = events
    assert (event.run.call, event.run.replay, event.calls) == (2, None, ())
    assert replay_text(event.run) == "not run again: it may wait for other ranks, which have not made this call"


def test_steps_that_the_scalers_of_all_ranks_leave_out_without_end_are_an_event() -> None:
    with watched() as events:
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu")
        for step in range(20):
            optimizer.zero_grad()
            scaler.scale(model(torch.rand(6, 4), float(step < 2)).mean()).backward()
            scaler.step(optimizer)
            scaler.update()
    assert [told(event) for event in events] == [(3, 15, "exact", [BACKWARD])]
