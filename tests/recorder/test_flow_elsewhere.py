"""Sources in threads, nested recordings, recomputation and compiled regions, and what must not change for them."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import fwdtrace
from fwdtrace.trace import Call, Source, TensorMeta, Trace
from fwdtrace.trace.values import tensors_in
from tests.helpers.flows import Net, flow, recorded, said


def test_what_comes_back_from_an_earlier_call_in_the_recording_has_its_source_there() -> None:
    class Carries(Net):
        def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
            return self.layer(x if state is None else x + state)

    model, x = Carries(), torch.ones(2, 4)
    with fwdtrace.record(model, ops=True) as recording:
        model(x, model(x))
    assert flow(recording.trace)[2:] == [
        "2 Carries(argument x, 1.0) -> 4.0",
        "3 +(argument x, 1.0) -> 3.0",
        "4 layer(3.0) -> 4.0",
    ]


def test_an_argument_has_the_name_of_the_call_that_it_is_given_to() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, first: Tensor | None = None, second: Tensor | None = None) -> Tensor:
            return self.inner(second if first is None else first)  # type: ignore[no-any-return]

    model, tensor = Named(), torch.ones(2)
    with fwdtrace.record(model, ops=True) as recording:
        for name in ("first", "second", "first"):
            model(**{name: tensor})
    inner = [call for call in recording.trace.calls if call.path == "inner"]
    sources = [leaf.source for call in inner for leaf in tensors_in(call.inputs)]
    assert sources == [Source(argument="first"), Source(argument="second"), Source(argument="first")]


def test_a_nested_recording_has_its_own_arguments_and_ids() -> None:
    class Outer(Net):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            y = x * 2.0
            with fwdtrace.record(self.block, ops=True) as recording:
                z = self.block(y)
            inner.append(recording.trace)
            return z + y

    inner: list[Trace] = []
    outer = recorded(Outer(), torch.ones(2, 4))
    assert flow(outer)[1:] == [
        "1 *(argument x) -> 1.0",
        "2 block(1.0) -> 3.0",
        "3 block.0(1.0) -> 3.0",
        "4 +(3.0, 1.0) -> 4.0",
    ]
    assert flow(inner[0]) == ["0 Sequential(argument input) -> 1.0", "1 0(argument input) -> 1.0"]


def test_a_tensor_at_the_address_of_another_that_is_gone_is_not_taken_for_it() -> None:
    class Drops(Net):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(50):
                x = self.layer(x) * 2.0
            return x

    trace = recorded(Drops(), torch.ones(2, 4))
    assert flow(trace)[1:] == [
        line
        for place in range(50)
        for line in (
            f"{2 * place + 1} layer({f'{2 * place}.0' if place else 'argument x'}) -> {2 * place + 1}.0",
            f"{2 * place + 2} *({2 * place + 1}.0) -> {2 * place + 2}.0",
        )
    ]


def test_no_tensor_lives_longer_because_its_source_is_known() -> None:
    class Watches(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x) * 2.0
            reference = weakref.ref(y)
            y = y + 1.0
            alive.append(reference() is not None)
            return y

    alive: list[bool] = []
    with torch.no_grad():
        recorded(Watches(), torch.ones(2, 4))
        model = Watches()
        with fwdtrace.record(model, ops=True):
            output = weakref.ref(model(torch.ones(2, 4)))
            gc.collect()
            alive.append(output() is not None)
    assert not any(alive)


def test_threads_have_sources_of_their_own() -> None:
    class Parallel(Net):
        def forward(self, x: Tensor) -> Tensor:
            parts: list[Any] = [None, None]

            def work(place: int, part: Tensor) -> None:
                parts[place] = self.layer(part)

            threads = [threading.Thread(target=work, args=(place, x + place)) for place in range(2)]
            for thread in threads:
                thread.start()
                thread.join()
            return parts[0] + parts[1]

    trace = recorded(Parallel(), torch.ones(2, 4))
    first, second = trace.at("layer")
    plus = (trace.ops or ())[-1]
    assert [said(leaf) for leaf in plus.inputs] == [f"{first.id}.0", f"{second.id}.0"]
    assert [said(call.inputs[0]) for call in (first, second)] == ["1.0", "2.0"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_forward_has_the_same_sources(reentrant: bool) -> None:
    class Checkpointed(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2.0
            return checkpoint(self.layer, y, use_reentrant=reentrant) + y

    model = Checkpointed()
    with fwdtrace.record(model, ops=True) as recording:
        model(torch.ones(2, 4, requires_grad=True)).sum().backward()
    assert flow(recording.trace)[1:4] == ["1 *(argument x) -> 1.0", "2 layer(1.0) -> 2.0", "3 +(2.0, 1.0) -> 3.0"]


def test_edges_enter_and_leave_a_compiled_region(dynamo: None) -> None:
    class Compiled(Net):
        def __init__(self) -> None:
            super().__init__()
            self.region = torch.compile(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), backend="eager")

        def forward(self, x: Tensor) -> Tensor:
            return self.region(self.layer(x)) + x

    with torch.no_grad():
        trace = recorded(Compiled(), torch.ones(2, 4))
    region = next(call for call in trace.calls if call.opaque == "compiled")
    assert [said(leaf) for leaf in region.inputs] == ["1.0"]
    assert [said(leaf) for leaf in (trace.ops or ())[-1].inputs] == [f"{region.id}.0", "argument x"]


def test_meta_and_fake_tensors_and_autocast_have_sources() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Plain(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            y += 1.0
            return y * 2.0

    expected = ["1 layer(argument x) -> 1.0", "2 +=(1.0) -> 1.0 !2", "3 *(1.0 !2) -> 3.0"]
    with torch.device("meta"):
        assert flow(recorded(Plain(), torch.ones(2, 4)))[1:] == expected
    with FakeTensorMode():
        assert flow(recorded(Plain(), torch.ones(2, 4)))[1:] == expected
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert flow(recorded(Plain(), torch.ones(2, 4)))[1:] == expected


def test_a_generator_has_the_sources_of_what_it_was_given_when_it_ran() -> None:
    class Streams(Net):
        def forward(self, parts: Any) -> Tensor:
            total = torch.zeros(4)
            for part in parts:
                total = total + self.layer(part)
            return total

    class Feeds(Net):
        def __init__(self) -> None:
            super().__init__()
            self.streams = Streams()

        def forward(self, x: Tensor) -> Tensor:
            return self.streams(self.layer(row) for row in x)

    assert flow(recorded(Feeds(), torch.ones(2, 4)))[1:] == [
        "1 Tensor.unbind(argument x) -> 1.0, 1.1",
        "2 streams() -> 9.0",
        "3 torch.zeros() -> 3.0",
        "4 layer(1.0) -> 4.0",
        "5 streams.layer(4.0) -> 5.0",
        "6 +(3.0, 5.0) -> 6.0",
        "7 layer(1.1) -> 7.0",
        "8 streams.layer(7.0) -> 8.0",
        "9 +(6.0, 8.0) -> 9.0",
    ]


def test_a_call_that_raises_says_where_its_inputs_came_from() -> None:
    class Raises(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).view(3, 3)

    model = Raises()
    with pytest.raises(RuntimeError), fwdtrace.record(model, ops=True) as recording:
        model(torch.ones(2, 4))
    assert flow(recording.trace) == ["0 Raises(argument x) -> ", "1 layer(argument x) -> 1.0", "2 Tensor.view(1.0) -> "]


def test_calls_alone_have_no_sources_and_share_their_leaves() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    with fwdtrace.record(model) as recording:
        model(torch.ones(2, 4))
    leaves = [leaf for call in recording.trace.calls for leaf in call.outputs]
    assert all(isinstance(leaf, TensorMeta) and leaf.source is None for leaf in leaves)
    assert len(set(map(id, leaves))) == 1


def test_a_recorded_model_is_copied_and_pickled_as_before() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with fwdtrace.record(model, ops=True):
        output = model(torch.ones(2, 4))
        assert torch.equal(copy.deepcopy(model)(torch.ones(2, 4)), output)
        assert torch.equal(pickle.loads(pickle.dumps(model))(torch.ones(2, 4)), output)


def test_the_sources_of_a_call_are_those_of_the_values() -> None:
    trace = recorded(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.ones(2, 4))
    assert isinstance(trace.events[2], Call)
    assert trace.flow.producer(trace.events[2].inputs[0]) == trace.call(1)
    assert trace.call(1).outputs[0] == TensorMeta("", (2, 4), "float32", requires_grad=True, source=Source(1, 0))
