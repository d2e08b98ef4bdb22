"""Which calls are kept by their numbers and modes."""

from __future__ import annotations

import pytest

from fwdtrace.program.wanted import EVALUATION, TRAINING, WITHOUT_GRADIENTS, Round, Wanted

RUN = [EVALUATION, EVALUATION, TRAINING, WITHOUT_GRADIENTS, TRAINING, EVALUATION]
"""The modes of the calls of one root, in order."""


def kept(wanted: Wanted) -> dict[int, Round]:
    """The calls that are kept by their numbers; what may be kept beforehand is checked at each."""
    calls = [0, 0, 0]
    rounds = {}
    for number, mode in enumerate(RUN, 1):
        may_keep = wanted.may_keep(mode, calls)
        calls[mode] += 1
        round = wanted.round(mode, calls)
        assert may_keep or round is None
        if round is not None:
            rounds[number] = round
    return rounds


@pytest.mark.parametrize(
    ("wanted", "rounds"),
    [
        (Wanted(), {1: ("other", 1), 3: ("training", 1)}),
        (Wanted(train=True), {3: ("training", 1)}),
        (Wanted(first=2), {1: ("", 1), 2: ("", 2)}),
        (Wanted(call=4), {4: ("", 4)}),
        (Wanted(every=3), {1: ("", 1), 4: ("", 4)}),
    ],
)
def test_calls_are_kept_by_number_or_else_by_mode(wanted: Wanted, rounds: dict[int, Round]) -> None:
    assert kept(wanted) == rounds


def test_the_mode_without_gradients_counts_as_evaluation_does() -> None:
    assert Wanted().round(WITHOUT_GRADIENTS, [0, 1, 0]) == ("other", 1)
    assert Wanted().round(WITHOUT_GRADIENTS, [1, 1, 0]) is None
