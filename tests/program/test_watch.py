"""Which calls of a program are kept, judged on a watch over models that are built and called here."""

from __future__ import annotations

import functools
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fwdtrace.program.holders import Holders
from fwdtrace.program.kept import KeptCall
from fwdtrace.program.roots import QUIET
from fwdtrace.program.wanted import MOST_ROOTS, Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from tests.helpers.footprint import collecting_no_garbage
from tests.helpers.threads import in_threads


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 3)
        self.decoder = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encode(x))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)


@contextmanager
def watched(wanted: Wanted, stop: Callable[[KeptCall], bool] = lambda kept: False) -> Iterator[list[KeptCall]]:
    """What is kept of the calls in the block."""
    kept: list[KeptCall] = []

    def keep(each: KeptCall) -> bool:
        kept.append(each)
        return stop(each)

    watch = Watch(wanted, Options(), keep)
    watch.begin()
    try:
        yield kept
    finally:
        watch.end()


def told(kept: list[KeptCall]) -> list[tuple[str, int | None, list[str | None]]]:
    return [
        (each.trace.calls[0].class_name, each.trace.run.call, [call.path for call in each.trace.calls]) for each in kept
    ]


WHOLE = ["", "encoder", "decoder"]
X = torch.ones(2, 4)


def test_the_first_call_of_each_model_is_kept() -> None:
    with watched(Wanted()) as kept:
        one, other = Net(), nn.Linear(4, 4)
        for _ in range(3):
            other(one(X))
    assert told(kept) == [("Net", 1, WHOLE), ("Linear", 1, [""])]
    assert [each.root for each in kept] == [0, 1]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [(Wanted(first=2), [1, 2]), (Wanted(call=3), [3]), (Wanted(every=2), [1, 3, 5]), (Wanted(call=9), [])],
)
def test_the_calls_that_are_asked_for_are_kept(wanted: Wanted, numbers: list[int]) -> None:
    with watched(wanted) as kept:
        net = Net()
        for _ in range(5):
            net(X)
    assert [each.trace.run.call for each in kept] == numbers


def test_the_module_around_a_model_is_the_root() -> None:
    with watched(Wanted()) as kept:
        net = Wrapper(Net())
        net(X)
    assert told(kept) == [("Wrapper", 1, ["", "module", "module.encoder", "module.decoder"])]


def test_a_method_that_bypasses_the_wrapper_is_a_way_in_of_its_own() -> None:
    with watched(Wanted()) as kept:
        net = Wrapper(Net())
        net(X)
        net.module.encode(X)
        net.module(X)
        net(X)
        net.module.decoder(X[:, :3])
    paths = [call.path for each in kept for call in each.trace.children()]
    assert paths == ["", "module.encoder", "module", "module.decoder"]


def test_a_direct_forward_of_a_model_is_seen_and_named() -> None:
    with watched(Wanted()) as kept:
        net = Net()
        net.forward(X)
    assert [(call.path, call.entry) for call in kept[0].trace.calls] == [
        ("", "forward"), ("encoder", "__call__"), ("decoder", "__call__"),
    ]  # fmt: skip
    site = kept[0].trace.calls[0].site
    assert site is not None and site.code == "net.forward(X)"


def test_a_copy_and_a_model_made_later_are_models_of_their_own() -> None:
    with watched(Wanted()) as kept:
        net = Net()
        for _ in range(3):
            net(X)
        deepcopy(net)(X)
        nn.Sequential(nn.Linear(4, 4))(X)
    classes = [(each.root, each.trace.model.class_name.rpartition(".")[2]) for each in kept]
    assert classes == [(0, "Net"), (1, "Net"), (2, "Sequential")]


def test_of_many_models_the_first_are_kept_and_then_the_others_are_left_alone() -> None:
    init = nn.Module.__init__
    with watched(Wanted()) as kept:
        for _ in range(MOST_ROOTS):
            net = Net()
            net(X)
        assert "__call__" in vars(Net)  # the last one may yet be called in another way
        assert "__call__" in vars(nn.Linear)
        for _ in range(QUIET):
            net(X)
        assert "__call__" not in vars(nn.Linear)
        assert nn.Module.__init__ is init
        Net()(X)
    assert [each.root for each in kept] == list(range(MOST_ROOTS))


def test_a_module_is_found_in_the_one_that_holds_it_however_it_came_there() -> None:
    with watched(Wanted(first=2)) as kept:
        outer, other = Wrapper(nn.Identity()), Wrapper(nn.Identity())
        outer._modules["module"] = other._modules["module"] = inner = Net()
        inner(X)
        del outer
        inner(X)
    names = [(each.root, each.trace.model.class_name, each.trace.children()[0].path) for each in kept]
    assert names == [(root, f"{__name__}.Wrapper", "module") for root in (0, 1)]


def test_a_model_that_the_program_lets_go_is_gone_at_once() -> None:
    with collecting_no_garbage(), watched(Wanted(first=2)) as kept:
        net = Wrapper(Net())
        inside = weakref.ref(net.module.encoder)
        net(X)
        del net
        assert inside() is None
    assert kept


def test_where_modules_are_is_not_looked_for_again_at_each_call() -> None:
    with watched(Wanted(first=1)):
        blocks = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
        blocks(X)
        spare = nn.Linear(4, 4)  # which may be called yet, so that calls of its class are looked at
        blocks[0](X)
        blocks[0](X)
        looked: list[None] = []
        alive = Holders.alive
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Holders, "alive", lambda holders: looked.append(None) or alive(holders))
            for _ in range(10):
                nn.ReLU()
                blocks[0](X)
        assert not looked
        assert "__call__" in vars(type(spare))


def test_threads_that_build_and_call_models_at_the_same_time_do_not_meet_us() -> None:
    def work() -> None:
        for _ in range(15):
            cls = type("Own", (Net,), {})
            model = nn.Sequential(*(cls() for _ in range(4)))
            for _ in range(3):
                outputs.append(model(X).shape)

    outputs: list[torch.Size] = []
    with watched(Wanted()) as kept:
        in_threads(6, work)
    assert outputs == [X.shape] * len(outputs)
    assert len(outputs) == 6 * 15 * 3
    assert 1 < len(kept) <= MOST_ROOTS


class Waits(Net):
    both = threading.Barrier(2)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        self.both.wait(120)
        return super().encode(x)


@pytest.mark.parametrize("cls", [Waits, Net])
def test_a_call_is_kept_without_those_that_other_threads_make_meanwhile_which_are_counted(cls: type[Net]) -> None:
    for _ in range(15):  # the other call may begin at any moment of the one that is recorded, or of the recording
        kept: list[KeptCall] = []
        watch = Watch(Wanted(), Options(), lambda each, kept=kept: kept.append(each) is not None)
        watch.begin()
        try:
            in_threads(2, functools.partial(cls(), X))
        finally:
            watch.end()
        assert told(kept) == [(cls.__name__, 1, WHOLE)]
        assert [sum(calls.values()) for called in watch.called() for calls in called.ways.values()] == [2]


def test_a_model_without_parameters_is_not_kept() -> None:
    with watched(Wanted()) as kept:
        nn.Sequential(nn.ReLU())(X)
        nn.MSELoss()(X, X)
    assert kept == []


@pytest.mark.parametrize("name", ["Net", f"{__name__}.Net", "module"])
def test_a_module_inside_is_kept_by_its_class_or_path(name: str) -> None:
    with watched(Wanted(model=name)) as kept:
        net = Wrapper(Net())
        for _ in range(2):
            net(X)
    assert told(kept) == [("Net", 1, WHOLE)]


def test_a_recomputation_during_backward_is_no_call_of_the_program() -> None:
    with watched(Wanted()) as kept:
        net = Net()
        loss = checkpoint(net.encode, X.clone().requires_grad_(), use_reentrant=False).sum()
        loss.backward()
    assert told(kept) == [("Linear", 1, ["encoder"])]


def test_only_the_classes_called_from_outside_are_watched_once_nothing_new_comes() -> None:
    own = Net.__dict__["forward"]
    with watched(Wanted()):
        net = Net()
        unused = deepcopy(net)
        assert "__call__" in vars(nn.Linear)
        for _ in range(QUIET + 1):
            net(X)
        assert "__call__" not in vars(nn.Linear)
        assert "__call__" in vars(Net)  # to count its calls
        for _ in range(QUIET + 1):
            unused(X)
        assert "__call__" not in vars(nn.Linear)
    assert "__call__" not in vars(Net)
    assert Net.__dict__["forward"] is own


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_a_model_can_be_scripted_while_it_is_watched() -> None:
    with watched(Wanted()) as kept:
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        scripted = torch.jit.script(net)
        assert torch.equal(scripted(X), net(X))
    assert kept


def test_a_graph_of_a_watched_model_is_the_one_without_us() -> None:
    def graphs() -> list[list[str]]:
        net = Net()
        exported = torch.export.export(net, (X,)).graph
        return [[str(node) for node in graph.nodes] for graph in (torch.fx.symbolic_trace(net).graph, exported)]

    bare = graphs()
    with watched(Wanted()) as kept:
        assert graphs() == bare
    assert kept == []


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_is_kept_and_computes_what_it_would(in_place: bool) -> None:
    graphs: list[list[Any]] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append([node.target for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    with watched(Wanted()) as kept:
        net = Net()
        expected = net(X)
        compiled: Any = net if in_place else torch.compile(net, backend=backend, fullgraph=True)
        if in_place:
            net.compile(backend=backend, fullgraph=True)
        assert all(torch.equal(compiled(X), expected) for _ in range(3))
    assert graphs[-1] == [torch.nn.functional.linear] * 2
    assert len(graphs) <= 2  # as recorded, and as it is
    assert [call.opaque for each in kept for call in each.trace.calls if call.opaque] == (
        [] if in_place else ["compiled"]
    )


@pytest.mark.parametrize(
    ("make", "origin"),
    [
        (lambda net: net, None),
        (deepcopy, "a copy"),
        (lambda net: pickle.loads(pickle.dumps(net)), "loaded"),
        (torch.optim.swa_utils.AveragedModel, "an average"),
    ],
)
def test_a_model_says_how_it_came_to_be(make: Callable[[Net], nn.Module], origin: str | None) -> None:
    watch = Watch(Wanted(), Options(), lambda kept: False)
    watch.begin()
    try:
        make(Net())(X)
        assert [called.origin for called in watch.called()] == [origin]
    finally:
        watch.end()
