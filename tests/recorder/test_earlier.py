"""What comes back from an earlier recording of the same root: known exactly, and weakly."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.recorder import earlier
from fwdtrace.trace import TensorMeta, Trace
from tests.helpers.flows import Net, flow, said


class Carries(Net):
    def forward(self, x: Tensor, state: Any = None) -> dict[str, Tensor]:
        y = self.layer(x) if state is None else self.layer(x) + state["last"]
        return {"y": y * 2.0, "last": y}


def recorded(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[Trace, Any]:
    with fwdtrace.record(model, ops=True) as recording:
        output = model(*args, **kwargs)
    return recording.trace, output


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_a_carried_state_says_which_call_made_it_and_which_output_it_was(mode: Any) -> None:
    model, x = Carries(), torch.ones(2, 4)
    with mode():
        first, state = recorded(model, x)
        second, state = recorded(model, x, state)
        third, _ = recorded(model, x, state)
    assert [trace.run.call for trace in (first, second, third)] == [1, 2, 3]
    assert flow(second) == [
        "0 Carries(argument x, 2.0 of 1, 1.0 of 1) -> 3.0, 2.0",
        "1 layer(argument x) -> 1.0",
        "2 +(1.0, 1.0 of 1) -> 2.0",
        "3 *(2.0) -> 3.0",
    ]
    assert flow(third)[0] == "0 Carries(argument x, 3.0 of 2, 2.0 of 2) -> 3.0, 2.0"


def test_a_state_that_the_model_keeps_comes_from_the_call_that_made_it() -> None:
    class Keeps(Net):
        def forward(self, x: Tensor) -> Tensor:
            keys = getattr(self, "keys", None)
            self.keys = self.layer(x) if keys is None else torch.cat([keys, self.layer(x)])
            return self.keys.sum()

    model, x = Keeps(), torch.ones(1, 4)
    traces = [recorded(model, x)[0] for _ in range(3)]
    assert flow(traces[1])[2] == "2 torch.cat(1.0 of 1, 1.0) -> 2.0"
    assert flow(traces[2])[2] == "2 torch.cat(2.0 of 2, 1.0) -> 2.0"


def test_a_state_that_passes_through_a_call_is_still_of_the_call_that_made_it() -> None:
    class Passes(Net):
        def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
            y = self.layer(x)
            return y, y if state is None else state

    model, x, state = Passes(), torch.ones(2, 4), None
    for _ in range(3):
        trace, (_, state) = recorded(model, x, state)
    assert flow(trace)[0] == "0 Passes(argument x, 1.0 of 1) -> 1.0, 1.0 of 1"


def test_calls_in_one_recording_count_for_the_next() -> None:
    model, x = Carries(), torch.ones(2, 4)
    with fwdtrace.record(model, ops=True) as recording:
        state = model(x, model(x))
    assert recording.trace.run.call == 1
    trace, _ = recorded(model, x, state)
    assert trace.run.call == 3
    assert flow(trace)[0].startswith("0 Carries(argument x, 6.0 of 1, 5.0 of 1)")


def test_what_another_root_made_or_nobody_saw_is_an_argument() -> None:
    model, other, x = Carries(), Carries(), torch.ones(2, 4)
    _, state = recorded(other, x)
    assert flow(recorded(model, x, state)[0])[0].startswith("0 Carries(argument x, argument state.y, ")
    assert flow(recorded(model, x, model(x))[0])[0].startswith("0 Carries(argument x, argument state.y, ")
    assert flow(recorded(copy.deepcopy(other), x, state)[0])[0].startswith("0 Carries(argument x, argument state.y")


def test_a_recording_without_ops_knows_of_no_tensor_but_counts() -> None:
    model, x = Carries(), torch.ones(2, 4)
    with fwdtrace.record(model):
        state = model(x)
    trace, _ = recorded(model, x, state)
    assert trace.run.call == 2
    assert flow(trace)[0].startswith("0 Carries(argument x, argument state.y, argument state.last)")


def test_a_state_that_was_written_into_meanwhile_still_came_from_there() -> None:
    model, x = Carries(), torch.ones(2, 4)
    with torch.no_grad():
        _, state = recorded(model, x)
        state["last"].zero_()
        assert flow(recorded(model, x, state)[0])[0].startswith("0 Carries(argument x, 2.0 of 1, 1.0 of 1)")


def test_parameters_and_buffers_keep_their_names_in_every_recording() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), torch.ones(2, 4)
    first, second = (recorded(model.train(), x)[0] for _ in range(2))
    assert flow(first) == flow(second)


def test_neither_tensors_nor_roots_live_longer() -> None:
    model, x = Carries(), torch.ones(2, 4)
    key = id(model)
    _, state = recorded(model, x)
    alive = [weakref.ref(tensor) for tensor in state.values()]
    del state
    gc.collect()
    assert [reference() for reference in alive] == [None, None]
    for _ in range(3):
        recorded(model, x)
    assert len(earlier._roots[key]._made) == 2  # what is gone takes no room
    del model
    gc.collect()
    assert key not in earlier._roots


def test_a_model_with_earlier_calls_is_pickled_as_before() -> None:
    model, x = Carries(), torch.ones(2, 4)
    before = pickle.dumps(model)
    _, _state = recorded(model, x)
    assert pickle.dumps(model) == before


def test_a_carried_tensor_has_no_producer_in_the_trace() -> None:
    model, x = Carries(), torch.ones(2, 4)
    _, state = recorded(model, x)
    trace, _ = recorded(model, x, state)
    plus = trace.events[2]
    assert [said(leaf) for leaf in plus.inputs if isinstance(leaf, TensorMeta)] == ["1.0", "1.0 of 1"]
    assert [producer.id for producer in trace.flow.producers(plus)] == [1]
    assert [user.id for user in trace.flow.consumers(trace.events[1], 0)] == [2]
