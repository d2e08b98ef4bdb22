"""Ports whose names do not say which weight is which: equal if they are, and no other weights hide a fault."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.weights.pair import Pair
from fwdtrace.run.two import TwoRunsPlan, compare_two
from tests.helpers import blind_ports, wrong_ports

EQUAL = [
    ("Named", "Blind()"),
    ("Blind()", "Named"),
    ("Layers('named')", "Layers('blind')"),
    ("Layers('blind')", "Layers('named')"),
    ("Fused", "Joined()"),
    ("Joined()", "Fused"),
    ("Fused", "Blind()"),
    ("Blind()", "Fused"),
    ("Joined()", "Blind()"),
    ("Plain", "StackedBare"),
    ("StackedBare", "Plain"),
    ("Named", "Held"),
    ("Branches", "BranchesApart()"),
    ("Grouped", "Groups()"),
    ("Ends", "EndsBlind"),
    ("Recurrent", "Gates"),
    ("FewerKeys", "FewerKeysJoined"),
    ("Norms", "NormsByHand"),
    ("Rotated", "RotatedHalves"),
    ("RotatedHalves", "Rotated"),
]
BUGS = [
    ("Named", "Blind", "axis"),
    ("Named", "Blind", "last"),
    ("Fused", "Joined", "divisor"),
    ("Branches", "BranchesApart", "twice"),
    ("Grouped", "Groups", "act"),
]
WRONG = [
    *((first, second) for first in ("Named", "Fused") for second in ("Turned", "Bias")),
    ("Named", "KeyForQuery"),
    ("Named", "JoinedOtherwise"),
    ("Plain", "Bare"),
    ("Norms", "NormsTurned"),
    ("List", "ListTurned"),
    ("Scaled", "ScaledTurned"),
    ("Heads", "HeadsTurned"),
    ("Chain", "ChainTurned"),
    ("Two", "TwoTurned"),
]


def compared(first: str, second: str) -> TraceComparison:
    specs = [f"{_file_of(name).__name__}:{name}" for name in (first, second)]
    return compare_two(TwoRunsPlan(*specs, inputs=("2x5x16",), same_init=True)).comparison


def _file_of(name: str) -> ModuleType:
    return blind_ports if hasattr(blind_ports, name.partition("(")[0]) else wrong_ports


@pytest.mark.parametrize(("first", "second"), EQUAL)
def test_a_port_whose_names_say_nothing_is_equal_with_every_weight_moved(first: str, second: str) -> None:
    found = compared(first, second)
    assert found.equal, found.verdict
    assert found.weights is not None and len(found.weights.moves) == found.weights.of
    assert not found.weights.ambiguous


@pytest.mark.parametrize(("first", "second"), [("Named", "Blind()"), ("Plain", "StackedBare")])
def test_nothing_is_looked_for_once_the_time_of_all_searches_is_over(
    first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def has_time(pair: Pair) -> bool:
        asked.append(pair)
        return len(asked) < 2

    monkeypatch.setattr(Pair, "has_time", property(has_time))
    found = compared(first, second)
    assert len(asked) > 1
    assert not found.equal
    assert found.weights is not None and (found.weights.ambiguous or found.weights.left)


@pytest.mark.parametrize(("first", "second", "bug"), BUGS)
def test_the_line_of_a_bug_is_named_where_names_say_nothing(first: str, second: str, bug: str) -> None:
    found = compared(first, f"{second}(bug={bug!r})")
    assert not found.equal
    lines = Path(blind_ports.__file__).read_text(encoding="utf-8").splitlines()
    marked = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {bug}"))
    assert re.search(rf"blind_ports\.py:{marked}(?! in the first)\b", found.verdict), found.verdict


@pytest.mark.parametrize(("first", "second"), WRONG)
def test_no_other_weights_hide_that_a_port_uses_the_wrong_one(first: str, second: str) -> None:
    assert not compared(first, second).equal
