"""The session: that it comes and goes with the recordings, and that they do not see what others asked for."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdtrace
from fwdtrace.recorder.measures.keeper import Keeper
from fwdtrace.recorder.notes import OpenCall, SeenModule
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.recorder.session import Session, calls_so_far, running

X = torch.ones(2, 4)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


def test_there_is_a_session_while_a_recording_runs_and_none_otherwise() -> None:
    assert running.session is None
    with fwdtrace.record(model()):
        session = running.session
        with fwdtrace.record(model()):
            assert running.session is session
        assert running.session is session
    assert running.session is None


def test_a_session_goes_with_its_last_recording_although_a_bound_forward_of_ours_lives_on() -> None:
    net = model()
    with fwdtrace.record(net) as recording:
        forward = net.forward
        net(X)
    session = running.session
    assert session is None
    assert torch.equal(forward(X), net(X))
    assert len(recording.trace.calls) == 3
    gc.collect()
    assert [thing for thing in gc.get_objects() if type(thing) in (Session, OpenCall, SeenModule)] == []


class Alike(nn.Linear):
    """A layer that says that it equals every other."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    def __hash__(self) -> int:
        return 1


def test_modules_that_say_they_are_equal_have_their_own_names() -> None:
    net = nn.Sequential(Alike(4, 4), Alike(4, 4))
    with fwdtrace.record(net) as recording:
        net(X)
    assert [(call.path, call.nth) for call in recording.trace.calls] == [("", 1), ("0", 1), ("1", 1)]


def test_calls_are_counted_while_they_run() -> None:
    net = model()
    with fwdtrace.record(net):
        net(X)
        assert calls_so_far() == 3
    assert calls_so_far() == 0


def test_a_recording_has_nothing_that_only_another_asked_for() -> None:
    net = model()
    net[0].weight.data[0, 0] = torch.inf
    with (
        fwdtrace.record(net) as plain,
        fwdtrace.record(net, ops=True, check_finite=True, stats=True, costs=True, gradients=True) as full,
    ):
        torch.relu(net(X))
    assert [call.nonfinite is None for call in full.trace.calls] == [False, False, False]
    for call in plain.trace.calls:
        assert (call.nonfinite, call.flops, call.backward) == (None, None, None)
        assert [getattr(leaf, "stats", None) for leaf in call.outputs] == [None]
    assert plain.trace.ops is None and plain.trace.gradients is None


def test_a_measure_goes_on_for_the_recording_that_still_asks_for_it() -> None:
    net = model()
    outer = fwdtrace.record(net, costs=True)
    with outer:
        with fwdtrace.record(net, costs=True) as inner:
            net(X)
        net(X)
    assert [call.flops for call in inner.trace.calls] == [64, 64, 0]
    assert [call.flops for call in outer.trace.calls] == [64, 64, 0] * 2


def test_each_of_two_keepers_knows_the_calls_of_its_own_recording_by_their_numbers() -> None:
    one, other = nn.Linear(4, 4), nn.ReLU()
    first, second = Keeper(10_000), Keeper(10_000)
    with Recording(one, Options(keeper=first)) as of_one:
        one(X)
        with Recording(other, Options(keeper=second)) as of_other:
            other(X)
            one(X)
        one(X)
    assert list(first.by_id) == [call.id for call in of_one.trace.calls] == [0, 1, 2]
    assert list(second.by_id) == [call.id for call in of_other.trace.calls] == [0]
    kept = second.by_id[0][1][0]
    assert kept is not None and kept.tensor is not None
    assert torch.equal(kept.tensor, X)


@pytest.fixture
def patched() -> Iterator[tuple[list[str], Callable[..., Any]]]:
    """A `Module.__call__` of somebody else's, which notes the class of each module and goes on to what it found."""
    torchs, classes = nn.Module.__call__, []

    def noting(found: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            classes.append(type(self).__name__)
            return found(self, *args, **kwargs)

        return call

    yield classes, noting
    nn.Module.__call__ = torchs  # type: ignore[method-assign]


BOTH = ["Sequential", "Linear", "ReLU"]


def test_a_call_that_somebody_replaced_before_runs_inside_and_is_there_afterwards(
    patched: tuple[list[str], Callable[..., Any]],
) -> None:
    classes, noting = patched
    theirs = nn.Module.__call__ = noting(nn.Module.__call__)  # type: ignore[method-assign]
    net = model()
    with fwdtrace.record(net) as recording:
        net(X)
    assert classes == BOTH
    assert nn.Module.__call__ is theirs
    chain = ("Module._wrapped_call_impl", "Module._call_impl")
    assert [call.entry for call in recording.trace.calls] == ["__call__"] * 3
    assert {call.chain[1:3] for call in recording.trace.calls} == {chain}
    assert {call.chain[0].rpartition(".")[2] for call in recording.trace.calls} == {"call"}


def test_a_call_that_somebody_replaces_inside_runs_from_there_on_and_is_there_afterwards(
    patched: tuple[list[str], Callable[..., Any]],
) -> None:
    classes, noting = patched
    net = model()
    with fwdtrace.record(net) as recording:
        net(X)
        theirs = nn.Module.__call__ = noting(nn.Module.__call__)  # type: ignore[method-assign]
        net(X)
    assert classes == BOTH
    assert nn.Module.__call__ is theirs
    assert [call.class_name for call in recording.trace.calls] == BOTH * 2
    with fwdtrace.record(net) as again, pytest.raises(RuntimeError):
        net(torch.ones(2, 5))
    assert classes == BOTH + BOTH[:2]
    assert [call.error is not None and call.error.raised_below for call in again.trace.calls] == [True, False]


def test_a_call_that_somebody_takes_out_inside_is_gone_afterwards(
    patched: tuple[list[str], Callable[..., Any]],
) -> None:
    classes, noting = patched
    torchs = nn.Module.__call__
    nn.Module.__call__ = noting(torchs)  # type: ignore[method-assign]
    net = model()
    with fwdtrace.record(net) as recording:
        nn.Module.__call__ = torchs  # type: ignore[method-assign]
        net(X)
    assert classes == []
    assert nn.Module.__call__ is torchs
    assert [(call.class_name, call.entry) for call in recording.trace.calls] == [
        (name, "__call__") for name in BOTH
    ]  # fmt: skip


def test_one_of_ours_that_somebody_kept_and_put_back_only_passes_calls_on(
    patched: tuple[list[str], Callable[..., Any]],
) -> None:
    net = model()
    with fwdtrace.record(net):
        ours = nn.Module.__call__
        nn.Module.__call__ = patched[1](ours)  # type: ignore[method-assign]
    nn.Module.__call__ = ours  # type: ignore[method-assign]
    assert torch.equal(net(X), net(X))
    torchs = ours.fwdtrace_found  # type: ignore[attr-defined]
    with fwdtrace.record(net) as recording:
        net(X)
    assert [call.class_name for call in recording.trace.calls] == BOTH
    assert nn.Module.__call__ is torchs


def test_a_model_is_let_go_with_its_recording() -> None:
    net: Any = model()
    gone = weakref.ref(net)
    with fwdtrace.record(net, ops=True, check_finite=True, stats=True, costs=True, gradients=True) as recording:
        net(X).sum().backward()
    del net
    gc.collect()
    assert gone() is None
    assert len(recording.trace.calls) == 3


def test_the_line_of_a_package_that_calls_models_for_its_user_is_not_shown() -> None:
    from fwdtrace.compare.direct import step

    net = model()
    code = "def call(model, x):\n    return model(x)\n"
    for package, is_shown in (("fwdtrace.compare.direct", False), ("fwdtrace.findings", True)):
        module: dict[str, Any] = {"__package__": package}
        exec(compile(code, step.__file__, "exec"), module)
        with fwdtrace.record(net) as recording:
            module["call"](net, X)
        assert [call.site is not None for call in recording.trace.calls] == [is_shown] * 3


class Deep(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_names_and_parameters_of_modules_inside_each_other() -> None:
    net: nn.Module = nn.Linear(4, 4)
    for _ in range(60):
        net = Deep(net)
    with fwdtrace.record(net) as recording:
        net(X)
    assert [call.path for call in recording.trace.calls] == [".".join(["inner"] * depth) for depth in range(61)]
    assert {call.parameters for call in recording.trace.calls} == {20}
