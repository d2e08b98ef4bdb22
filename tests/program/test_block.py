"""A block of Python is watched as a program is, models included that were made before it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fwdtrace


def test_what_is_not_finite_in_a_block_is_explained() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Softplus(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with fwdtrace.watch(on="nonfinite") as watch:
        for step in range(3):
            optimizer.zero_grad()
            net(torch.ones(2, 4) * (float("inf") if step == 1 else 1)).sum().backward()
            optimizer.step()
            assert len(watch.traces) == (step > 0)
    assert watch.trace is not None
    assert (watch.trace.run.event, watch.trace.run.call, watch.trace.run.step) == ("nonfinite", 2, 2)
    assert [finding.code for finding in watch.trace.findings] == ["FT005"]


def test_a_block_in_which_nothing_happens_has_no_trace() -> None:
    with fwdtrace.watch() as watch:
        nn.Linear(2, 2)(torch.ones(1, 2))
    assert (watch.trace, watch.traces) == (None, ())


def test_an_error_that_ends_the_block_is_explained_and_goes_on() -> None:
    net = nn.Linear(4, 4)
    with pytest.raises(RuntimeError, match="shapes"), fwdtrace.watch(on=["nonfinite", "error"]) as watch:
        net(torch.ones(2, 3))
    assert watch.trace is not None and watch.trace.run.event == "error"


def test_so_many_events_are_kept_and_no_more_is_looked_for() -> None:
    net = nn.Linear(4, 4)
    with fwdtrace.watch(keep=1) as watch:
        for factor in (float("nan"), 1.0, float("nan")):
            net(torch.ones(1, 4) * factor)
    assert [trace.run.call for trace in watch.traces] == [1]


def test_every_so_many_calls_are_measured_and_their_growth_is_told_beside_the_event() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Softsign())
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
    with fwdtrace.watch(every=2, last=2) as watch:
        for factor in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, float("nan")):
            net(torch.ones(1, 2) * factor)
    (trace,) = watch.traces
    earlier = [(each.call, {one.path: one.value for one in each.largest}) for each in trace.run.earlier]
    assert [(number, largest["0"]) for number, largest in earlier] == [(5, 5.0)]


@pytest.mark.parametrize(
    ("event", "reason"),
    [("nan", "there is no such event"), ("slow=x", "give a number above 1"), ("error=2", "no such")],
)
def test_an_unknown_event_is_refused(event: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fwdtrace.watch(on=event)


def test_an_error_that_hangs_on_random_numbers_is_replayed_with_the_same_ones() -> None:
    class Chance(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x[:, : int(torch.randint(2, 1000, ()))])

    with pytest.raises(RuntimeError), fwdtrace.watch(on=["nonfinite", "error"]) as watch:
        Chance(1, 4)(torch.ones(2, 1000))
    assert watch.trace is not None and watch.trace.run.replay == "exact"
