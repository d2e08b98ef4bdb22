"""What the calls and ops of a trace have in common is one object in it, and equal times are."""

from __future__ import annotations

import gc

import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.recorder.session import running
from fwdtrace.trace import Source, Trace


class Steps(nn.Module):
    """A layer that is called again and again from one line."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(200):
            x = self.layer(x)
            x = x + 1
        return x


def recorded(ops: bool) -> Trace:
    model = Steps()
    with torch.no_grad(), fwdtrace.record(model, ops=ops) as recording:
        model(torch.ones(1, 4))
    return recording.trace


def test_calls_from_one_line_share_all_but_their_numbers() -> None:
    steps = recorded(ops=False).at("layer")
    assert len(steps) == 200
    for name in ("site", "inputs", "outputs", "chain", "path", "aliases", "class_name", "hooks"):
        assert len({id(getattr(call, name)) for call in steps}) == 1, name
    durations = [call.duration_us for call in steps]
    assert len(set(map(id, durations))) == len(set(durations))


def test_calls_of_the_root_from_one_line_share_it_too() -> None:
    model = Steps()
    with torch.no_grad(), fwdtrace.record(model) as recording:
        for _ in range(3):
            model(torch.ones(1, 4))
    assert len({id(call.site) for call in recording.trace.at("")}) == 1


def test_ops_of_one_line_share_their_site_and_name() -> None:
    ops = [op for op in recorded(ops=True).ops or () if op.name == "+"]
    assert len(ops) == 200
    assert len({id(op.site) for op in ops}) == len({id(op.name) for op in ops}) == 1


def test_the_positions_of_calls_from_one_line_are_one_object() -> None:
    model = Steps()
    with torch.no_grad(), fwdtrace.record(model):
        model(torch.ones(1, 4))
        session = running.session
        assert session is not None
        assert len({id(note.position) for note in session.log if note.parent is not None}) == 1


def test_garbage_is_collected_again_when_a_trace_is_finished_and_never_where_it_was_not_before() -> None:
    assert gc.isenabled()
    recorded(ops=True)
    assert gc.isenabled()
    gc.disable()
    try:
        recorded(ops=False)
        assert not gc.isenabled()
    finally:
        gc.enable()


class Branches(nn.Module):
    """Gives one tensor to several layers and ops, once behind a number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        return self.first(y) + self.second(y) + (2 - y) * y + (2 - y)


def test_what_is_given_to_several_is_one_leaf_and_has_its_source_behind_a_number_too() -> None:
    model = Branches()
    with torch.no_grad(), fwdtrace.record(model, ops=True) as recording:
        model(torch.ones(1, 4))
    trace = recording.trace
    made = next(op for op in trace.ops or () if op.name == "+")
    assert trace.at("first")[0].inputs is trace.at("second")[0].inputs
    behind = [op.inputs for op in trace.ops or () if op.name == "-"]
    assert [[getattr(leaf, "source", None) for leaf in leaves] for leaves in behind] == [[None, Source(made.id, 0)]] * 2
    assert behind[0][1] is behind[1][1]
