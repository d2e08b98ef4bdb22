"""Several threads in one recording, and several recordings at one time."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import Trace
from tests.helpers.models import Chain
from tests.helpers.recorded import recorded, rows
from tests.helpers.threads import in_threads

X = torch.ones(2, 4)


def test_calls_in_another_thread_are_under_the_call_that_waits_for_them() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            results: list[Tensor] = []
            thread = threading.Thread(target=lambda: results.append(self.layer(x)), name="worker")
            thread.start()
            thread.join()
            return results[0]

    trace = recorded(Net(), X)
    assert rows(trace) == [" #1 __call__", "  layer #1 __call__"]
    assert [call.thread for call in trace.calls] == [None, "worker"]


def test_calls_of_one_model_in_several_threads_are_not_made_by_each_other() -> None:
    class Waits(Chain):
        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            both.wait(120)
            return self.second(x)

    both = threading.Barrier(2)
    model = Waits()
    with fwdtrace.record(model) as recording:
        thread = threading.Thread(target=model, args=(X,), name="other")
        thread.start()
        model(X)
        thread.join()
    assert sorted((call.depth, call.path or "", call.thread or "") for call in recording.trace.calls) == [
        (0, "", ""), (0, "", "other"),
        (1, "first", ""), (1, "first", "other"), (1, "second", ""), (1, "second", "other"),
    ]  # fmt: skip


def test_threads_that_record_at_the_same_time_see_their_own_calls_alone() -> None:
    def work() -> None:
        model = Chain()
        model.first.register_forward_hook(lambda module, args, output: None)
        for _ in range(40):
            with fwdtrace.record(model, ops=True) as recording, torch.no_grad():
                torch.relu(model(X))
                nn.Linear(4, 4)(X)
            traces.append(recording.trace)

    traces: list[Trace] = []
    in_threads(4, work)
    seen = {(*rows(trace), *(hook.fired for call in trace.calls for hook in call.hooks)) for trace in traces}
    assert seen == {(" #1 __call__", "  first #1 __call__", "  second #1 __call__", True)}
    assert len(traces) == 160


def test_data_parallel_replicas_have_the_names_of_what_they_copy() -> None:
    class Replicates(nn.DataParallel):
        def forward(self, x: Tensor) -> Tensor:
            replica = self.module._replicate_for_data_parallel()
            for name, child in self.module._modules.items():
                replica._modules[name] = child._replicate_for_data_parallel()
            replica.first.weight, replica.first.bias = self.module.first.weight, self.module.first.bias
            replica.second.weight, replica.second.bias = self.module.second.weight, self.module.second.bias
            results: list[Tensor] = []
            thread = threading.Thread(target=lambda: results.append(replica(x)))
            thread.start()
            thread.join()
            return results[0]

    model = Replicates(Chain())
    trace = recorded(model, X)
    assert rows(trace) == [
        " #1 __call__",
        "  module #1 __call__",
        "    module.first #1 __call__",
        "    module.second #1 __call__",
    ]


def test_two_recordings_of_two_models_each_see_their_own() -> None:
    one, other = Chain(), nn.Sequential(nn.ReLU())
    with fwdtrace.record(one) as outer:
        one(X)
        with fwdtrace.record(other) as inner:
            one(X)
            other(X)
        other(X)
    assert [call.class_name for call in outer.trace.calls] == ["Chain", "Linear", "Linear"] * 2
    assert [call.class_name for call in inner.trace.calls] == ["Sequential", "ReLU"]


def test_recordings_may_end_in_any_order() -> None:
    one, other = Chain(), nn.Sequential(nn.ReLU())
    first, second = fwdtrace.record(one), fwdtrace.record(other)
    first.__enter__()
    second.__enter__()
    one(X)
    first.__exit__(None, None, None)
    other(X)
    second.__exit__(None, None, None)
    assert len(first.trace.calls) == 3 and len(second.trace.calls) == 2
