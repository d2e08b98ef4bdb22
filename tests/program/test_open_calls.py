"""How the recording of a call of a program ends, judged on a watch over models that are built and called here."""

from __future__ import annotations

import pytest
import torch

from fwdtrace.program.kept import KeptCall
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from tests.program.test_watch import WHOLE, Net, X, told, watched


def test_a_call_that_raises_is_kept_and_raises_as_before() -> None:
    with watched(Wanted()) as kept, pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        net = Net()
        net(torch.ones(2, 5))
    assert [call.error is not None for call in kept[0].trace.calls] == [True, True]


def test_the_program_is_asked_to_end_after_the_last_call_that_is_wanted() -> None:
    with watched(Wanted(first=5), stop=lambda kept: kept.trace.run.call == 2) as kept, pytest.raises(SystemExit) as end:
        net = Net()
        for _ in range(5):
            net(X)
    assert end.value.code == 0
    assert len(kept) == 2


def test_a_call_that_awaits_its_backward_is_kept_as_it_is_before_the_program_is_killed() -> None:
    kept: list[KeptCall] = []
    watch = Watch(Wanted(), Options(gradients=True), lambda each: kept.append(each) is not None)
    watch.begin()
    try:
        net = Net()
        net(X)
        assert kept == []
        watch.keep_what_is_open()
    finally:
        watch.end()
    assert told(kept[:1]) == [("Net", 1, WHOLE)]


def test_a_call_that_runs_is_kept_as_far_as_it_has_come_before_the_program_is_killed() -> None:
    kept: list[KeptCall] = []
    watch = Watch(Wanted(), Options(), lambda each: kept.append(each) is not None)

    class Killed(Net):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            encoded = super().encode(x)
            watch.keep_what_is_open()
            return encoded

    watch.begin()
    try:
        Killed()(X)
    finally:
        watch.end()
    assert told(kept[:1]) == [("Killed", 1, ["", "encoder"])]
