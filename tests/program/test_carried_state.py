"""What a program carries from one call of a model to the next says which call made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.kept import KeptCall
from fwdtrace.program.traces import ProgramTraces
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from fwdtrace.trace import Trace
from fwdtrace.trace.read import load_trace
from tests.helpers.flows import flow


def traces(wanted: Wanted, program: Any) -> list[Trace]:
    """The traces of a program, as `exec` joins them."""
    joined = ProgramTraces((), lambda trace, file: True)

    def keep(kept: KeptCall) -> bool:
        joined.add(kept.root, kept.round, kept.trace)
        return False

    watch = Watch(wanted, Options(ops=True), keep)
    watch.begin()
    try:
        program()
    finally:
        watch.end()
    return [joined.by_key[key] for key in sorted(joined.by_key)]


def test_a_hidden_state_comes_from_the_call_before_if_that_was_kept() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(4, 4)

        def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
            y, state = self.cell(x, state)
            return y, state

    def program() -> None:
        model, state = Recurrent(), None
        for _ in range(5):
            _, state = model(torch.ones(3, 1, 4), state)

    every = traces(Wanted(first=3), program)
    assert [(trace.run.call, flow(trace)[0]) for trace in every] == [
        (1, "0 Recurrent(argument x) -> 1.0, 1.1"),
        (2, "0 Recurrent(argument x, 1.1 of 1) -> 1.0, 1.1"),
        (3, "0 Recurrent(argument x, 1.1 of 2) -> 1.0, 1.1"),
    ]
    (second,) = traces(Wanted(call=2), program)
    assert (second.run.call, flow(second)[0]) == (2, "0 Recurrent(argument x, argument state) -> 1.0, 1.1")


def test_the_parts_of_one_call_in_several_ways_are_one_trace() -> None:
    class Coder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 4)

    def program() -> None:
        model, x = Coder(), torch.ones(2, 4)
        for _ in range(2):
            x = model.decoder(model.encoder(x))

    first, second = traces(Wanted(first=2), program)
    assert flow(first) == ["0 encoder(?) -> 0.0", "1 decoder(0.0) -> 1.0"]
    assert flow(second) == ["0 encoder(1.0 of 1) -> 0.0", "1 decoder(0.0) -> 1.0"]


def test_a_trace_of_a_later_call_is_read_as_it_was_saved(tmp_path: Path) -> None:
    def program() -> None:
        model, x = nn.Sequential(nn.Linear(4, 4)), torch.ones(2, 4)
        for _ in range(2):
            x = model(x)

    _, second = traces(Wanted(first=2), program)
    second.save(tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json") == second
    assert '"call": 2,' in (tmp_path / "t.json").read_text(encoding="ascii")
    assert flow(second)[0] == "0 Sequential(1.0 of 1) -> 1.0"
