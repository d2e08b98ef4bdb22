"""Ports with one planted bug each: none is missed, none misleads, and most are named with their line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.run.two import TwoRunsPlan, compare_two
from tests.helpers import ports
from tests.helpers.pairs import PAIRS

BUGS = {
    "gpt2_by_hand": "eps scale diagonal fill dim heads stream gelu residual offset last",
    "t5_by_hand": "mean square epsilon t5_scale bias swapped silu direction embedding",
    "clip_of_openai": "mask no_mask quick batch_first",
    "decoder_by_hand": "causal memory values norm leaky dropout",
    "resnet_by_hand": "pool order global dilation norm_eps",
}
"""The bugs of the second model of each pair; each is on a line that is marked with its name, or a setting."""
SETTINGS = {
    "eps": ("blocks.0.ln_in", "eps=0.001"),
    "dilation": ("convs.2", "dilation"),
    "norm_eps": ("norms.0", "eps"),
}
"""The module of the second whose setting is the bug, and what is said of it."""
FOUND = [(pair, bug) for pair, bugs in BUGS.items() for bug in bugs.split()]
LINES = 0.8


def compared(name: str, bug: str) -> TraceComparison:
    pair = PAIRS[name]
    first = f"{pair.first.__module__}:{pair.first.__name__}"
    second = f"{pair.second.__module__}:{pair.second.__name__}(bug={bug.replace('_', ' ')!r})"
    return compare_two(TwoRunsPlan(first, second, inputs=tuple(pair.shape.split(",")), same_init=True)).comparison


def names_the_line(comparison: TraceComparison, bug: str) -> bool:
    """Whether the module whose setting it is, or the marked line, is what is named."""
    origin = comparison.origin
    if origin is None:
        return False
    if bug in SETTINGS:
        path, words = SETTINGS[bug]
        return (origin.other_path or origin.path) == path and any(words in why for why in origin.why)
    mark = f"# {bug.replace('_', ' ')}"
    lines = Path(ports.__file__).read_text(encoding="utf-8").splitlines()
    marked = [number for number, line in enumerate(lines, 1) if line.endswith(mark)]
    return any(re.search(rf"ports\.py:{number}\b", comparison.verdict) for number in marked)


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore")
def test_no_planted_bug_is_missed_and_most_are_named_with_their_line() -> None:
    found = {(name, bug): compared(name, bug) for name, bug in FOUND}
    assert len(found) >= 30
    assert [at for at, comparison in found.items() if comparison.equal] == []
    elsewhere = [at for at, comparison in found.items() if not names_the_line(comparison, at[1])]
    assert len(elsewhere) <= (1 - LINES) * len(found), elsewhere
