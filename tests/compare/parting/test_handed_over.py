"""Small ports that hand tensors on, loop and select: equal as they are, and the line of each planted bug is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.run.two import TwoRunsPlan, compare_two
from tests.helpers import handed_ports

PAIRS = {
    "Handed": ("Whole", "2x5x16"),
    "Stacked": ("Shuffled", "2x4x6"),
    "InTurns": ("Routed", "12x16"),
    "ByHand": ("Heads", "2x6x16"),
    "Stepped": ("Scanned", "2x5x16"),
}
"""By the second model the first, and what both are called with."""
BUGS = {
    ("Handed", "norm"): "LayerNorm at",
    ("Stacked", "halves"): "is of Tensor.chunk at",
    ("Stacked", "shuffle"): "it gives the same elements in another order",
    ("InTurns", "shares"): "* became Tensor.index_add_",
    ("InTurns", "renorm"): "Tensor.sum became *",
    ("ByHand", "flat"): "it takes other elements",
    ("ByHand", "way"): "has its elements in another order, of + at",
    ("Stepped", "around"): "+ at",
}
"""What is said of the bugs of the second models."""


def compared(second: str, bug: str = "") -> TraceComparison:
    first, shape = PAIRS[second]
    one, two = (f"{handed_ports.__name__}:{name}" for name in (first, f"{second}(bug={bug!r})"))
    return compare_two(TwoRunsPlan(one, two, inputs=(shape,), same_init=True)).comparison


@pytest.mark.parametrize("second", PAIRS)
def test_a_port_that_hands_tensors_on_is_equal_with_every_weight_moved(second: str) -> None:
    found = compared(second)
    assert found.equal, found.verdict
    assert found.weights is not None and len(found.weights.moves) == found.weights.of


@pytest.mark.parametrize(("second", "bug"), BUGS)
def test_the_line_on_which_the_wrong_tensor_is_handed_on_is_named(second: str, bug: str) -> None:
    found = compared(second, bug)
    lines = Path(handed_ports.__file__).read_text(encoding="utf-8").splitlines()
    marked = [number for number, line in enumerate(lines, 1) if line.endswith(f"# {bug}")]
    assert not found.equal and BUGS[second, bug] in found.verdict, found.verdict
    assert any(re.search(rf"handed_ports\.py:{number}\b", found.verdict) for number in marked), found.verdict
