"""What raises inside a model: where it is told, what is kept, and what the user sees of it."""

from __future__ import annotations

import inspect
import sys

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.trace import CallError
from tests.helpers.recorded import recorded

X = torch.ones(2, 4)


def test_an_error_names_the_innermost_call_and_marks_its_callers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(5, 4)))
    with pytest.raises(RuntimeError), fwdtrace.record(model) as recording:
        model(X)
    calls = recording.trace.calls
    assert [(call.path, call.error and call.error.raised_below) for call in calls] == [
        ("", True),
        ("0", None),
        ("1", True),
        ("1.0", False),
    ]
    assert calls[-1].error == CallError("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (2x4 and 5x4)")
    assert [call.outputs for call in calls if call.error] == [(), (), ()]


def test_an_error_caught_inside_the_model_stays_with_the_call_that_raised() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad, self.good = nn.Linear(5, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.bad(x)
            except RuntimeError:
                return self.good(x)

    calls = recorded(Net(), X).calls
    assert [(call.path, call.error is None) for call in calls] == [("", True), ("bad", False), ("good", True)]


def test_an_error_raised_after_another_was_caught_is_the_callers_own() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad = nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.bad(x)
            except RuntimeError:
                raise ValueError("no luck") from None

    model = Net()
    with pytest.raises(ValueError, match="no luck"), fwdtrace.record(model) as recording:
        model(X)
    error = recording.trace.calls[0].error
    assert error is not None and (error.type, error.message, error.raised_below) == ("ValueError", "no luck", False)
    assert error.site is not None and error.site.code == 'raise ValueError("no luck") from None'


def test_an_interrupt_closes_every_open_call() -> None:
    class Stop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    model = nn.Sequential(nn.ReLU(), Stop())
    with pytest.raises(KeyboardInterrupt), fwdtrace.record(model) as recording:
        model(X)
    assert [(call.path, call.error and call.error.type) for call in recording.trace.calls] == [
        ("", "KeyboardInterrupt"),
        ("0", None),
        ("1", "KeyboardInterrupt"),
    ]


def test_the_traceback_that_leaves_the_block_has_no_frame_of_ours() -> None:
    model = nn.Sequential(nn.Linear(5, 4))
    with pytest.raises(RuntimeError) as caught, fwdtrace.record(model):
        model(X)
    files = [str(entry.path) for entry in caught.traceback]
    assert any("torch" in file for file in files)
    assert not any(
        "fwdtrace/" in file.replace("\\", "/").split("/tests/")[0] + "/" and "recorder" in file for file in files
    )


def test_an_exception_whose_text_cannot_be_made_is_recorded_and_passed_on() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise Broken

    model = Net()
    with pytest.raises(Broken), fwdtrace.record(model) as recording:
        model(X)
    error = recording.trace.calls[0].error
    assert error is not None and (error.type, error.message) == ("Broken", "")


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self(x)  # type: ignore[no-any-return]


def test_a_recursion_without_end_raises_one_error_wherever_the_last_frame_is() -> None:
    model, was, depth = Endless(), sys.getrecursionlimit(), len(inspect.stack(0))
    contexts: list[BaseException | None] = []
    for more in range(100, 112):
        with fwdtrace.record(model, ops=True):
            sys.setrecursionlimit(depth + more)
            try:
                model(torch.ones(1))
            except RecursionError as error:
                contexts.append(error.__context__)
            finally:
                sys.setrecursionlimit(was)
    assert contexts == [None] * 12
