"""The error that ended a program is explained, also if the program raised it in place of the one that it caught."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from fwdtrace.program.crash import came_from
from fwdtrace.program.explanation import explanation_of_end
from fwdtrace.program.traces import ProgramTraces
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options


@pytest.mark.parametrize("suppressed", [False, True])
def test_the_call_behind_an_error_of_the_programs_own_is_explained(
    suppressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(Wanted(), Options(), lambda kept: False)
    watch.begin()
    try:
        net = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
        net(torch.ones(2, 8))
        with pytest.raises(ValueError, match="batch 1") as raised:
            try:
                net(torch.ones(2, 7))
            except RuntimeError as error:
                raise ValueError("batch 1") from None if suppressed else error
    finally:
        watch.end()
    for name in ("last_exc", "last_value"):
        monkeypatch.setattr(sys, name, raised.value, raising=False)
    trace = explanation_of_end(watch, ProgramTraces((), lambda trace, file: True), False)
    assert trace is not None
    assert [finding.message for finding in trace.findings if finding.code == "FT006"] == [
        "0 (Linear) expects 8 features, got 7; given input 2×7, weight 4×8, bias 4; give the model input of 2×8"
        " (tried: the model then gives 2×4), or set in_features=7 in 0 (tried: the model then gives 2×4)"
    ]


def test_what_stands_behind_an_error_ends_where_nothing_may_run_again_or_it_comes_around() -> None:
    first, second, third = ValueError("1"), ValueError("2"), ValueError("3")
    third.__cause__, second.__context__ = second, first
    assert came_from(third) == [third, second, first]
    first.__context__ = third
    assert came_from(third) == [third, second, first]
    second.__cause__ = MemoryError()
    assert came_from(third) == [third, second]
    second.__cause__ = KeyboardInterrupt()
    assert came_from(third) == [third, second]
