"""`record(model)` around a call that raises: the trace has the fixes that were tried, and nothing else is changed."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import Trace
from tests.helpers.advice import broken

LAST = "set in_features=6 in last (tried: the model then gives 3×2), or set out_features=5 in first (tried: the"


class Net(nn.Module):
    """Its last layer does not fit; one method calls it by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.first(x))

    def head(self, x: Tensor) -> Any:
        return self.last(x)


class Joins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.cat((x, x[:, :1]), 1)) + torch.ones(3)


def crash_of(model: nn.Module, *args: Any, method: str = "__call__", **options: bool) -> Trace:
    with contextlib.suppress(RuntimeError), fwdtrace.record(model, **options) as recording:  # type: ignore[arg-type]
        getattr(model, method)(*args)
    return recording.trace


def said(trace: Trace) -> str:
    (finding,) = (finding for finding in trace.findings if finding.code == "FT006")
    return finding.message


@pytest.mark.parametrize("ops", [False, True])
def test_the_fixes_are_those_of_a_run(ops: bool) -> None:
    model = Net()
    assert LAST in said(crash_of(model, torch.ones(3, 4), ops=ops))
    assert said(crash_of(model, torch.ones(3, 4), ops=ops)) == broken(Net(), "3x4").finding.message


def test_an_op_that_raised_is_named_even_if_ops_were_not_asked_for() -> None:
    messages = [said(crash_of(Joins(), torch.ones(2, 7), ops=ops)) for ops in (False, True)]
    assert messages[0] == messages[1]
    assert messages[0].startswith("+ in the model (Joins) cannot broadcast 2×2 with 3")


def test_a_part_of_the_model_that_is_called_alone_is_named_in_the_advice() -> None:
    message = said(crash_of(Net(), torch.ones(3, 4), method="head"))
    assert message.endswith(
        "; call last with input of 3×5 (tried: last then gives 3×2), or set in_features=4 in last (tried: last then"
        " gives 3×2)"
    )


def test_the_last_of_several_crashes_is_the_one_that_ended_the_block() -> None:
    model = Net()
    with contextlib.suppress(RuntimeError), fwdtrace.record(model) as recording:
        with contextlib.suppress(RuntimeError):
            model.first(torch.ones(3, 9))
        model.head(torch.ones(3, 4))
    first, last = (finding.fixes for finding in recording.trace.findings if finding.code == "FT006")
    assert first == () and [fix.text for fix in last] == ["call last with input of 3×5", "set in_features=4 in last"]


def test_a_hook_of_the_user_hears_of_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # no advice is followed here, which the hook would hear of
    model = Net()
    heard: list[Any] = []
    handle = model.first.register_forward_hook(lambda *given: heard.append(given))
    assert LAST in said(crash_of(model, torch.ones(3, 4)))
    assert len(heard) == 1 and list(model.first._forward_hooks) == [handle.id]


def test_a_cache_that_was_given_is_not_written_into_by_a_trial() -> None:
    class Cached(Net):
        def forward(self, x: Tensor, cache: Any = None) -> Any:
            cache.append(1)
            return super().forward(x)

    class Cache:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def append(self, value: int) -> None:
            self.seen.append(value)

    cache = Cache()
    assert LAST in said(crash_of(Cached(), torch.ones(3, 4), cache))
    assert cache.seen == [1]


def test_nothing_is_tried_while_another_recording_runs() -> None:
    model = Net()
    with fwdtrace.record(nn.Linear(1, 1)):
        assert "tried" not in said(crash_of(model, torch.ones(3, 4)))
    assert "tried" in said(crash_of(model, torch.ones(3, 4)))


def test_what_goes_wrong_in_a_trial_does_not_hide_the_error() -> None:
    class NoCopy(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(RuntimeError, match="cannot be multiplied"), fwdtrace.record(NoCopy()) as recording:
        NoCopy()(torch.ones(3, 4))
    model = NoCopy()
    with pytest.raises(RuntimeError, match="cannot be multiplied"), fwdtrace.record(model) as recording:
        model(torch.ones(3, 4))
    assert said(recording.trace).startswith("last (Linear) expects 5 features, got 6")
