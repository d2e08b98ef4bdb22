"""The benchmarks, judged on whether they measure at all; what they measure is for people to read."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from tests.benchmarks import rounds
from tests.benchmarks.contenders import ESSENTIAL, Pass, empty_function_mode, identities


def test_every_contender_runs_once_a_round() -> None:
    found = rounds.passes((*ESSENTIAL, empty_function_mode), *identities(3), rounds=2)
    assert [len(took) for took in found.values()] == [2, 2, 2, 2]
    assert all(each.forward > 0 for took in found.values() for each in took)


def test_a_peer_that_fails_is_a_row_without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(model: nn.Module, x: Tensor) -> Pass:
        raise ImportError("no such library")

    monkeypatch.setattr(rounds, "PEERS", (absent,))
    found = rounds.passes((*ESSENTIAL, absent), *identities(3), rounds=1)
    assert found[absent] == []
    assert rounds.milliseconds(found[absent]) == rounds.ratio(found[absent], [1.0]) == "–"


def test_a_failure_of_our_own_is_not_hidden() -> None:
    def broken(model: nn.Module, x: Tensor) -> Pass:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        rounds.passes((broken,), *identities(3), rounds=1)


def test_ratios_are_of_the_minima_and_the_median_of_those_of_each_round() -> None:
    assert rounds.ratio([2.0, 3.0, 9.0], [1.0, 2.0, 2.0]) == "2.00 / 2.00"
