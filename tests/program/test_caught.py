"""Errors that a program catches: counted by place, the first explained, and nothing said of the one that ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fwdtrace import load_trace
from fwdtrace.program.caught import CaughtErrors
from fwdtrace.program.kept import KeptCall
from fwdtrace.program.traces import ProgramTraces
from fwdtrace.program.wanted import Wanted
from fwdtrace.program.watch import Watch
from fwdtrace.recorder.recorded import Options
from fwdtrace.render.kept_calls import caught_lines
from fwdtrace.trace.called import Caught
from tests.helpers.commands import CHILDS_PATH

SERVER = """\
import sys
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


net = Net().eval()


def answer(x):
    try:
        return 200 if net(x) is not None else 204
    except RuntimeError:
        return 500


print([answer(torch.ones(2, width)) for width in [8] * 30 + [7, 8, 6, 8]])
if "end" in sys.argv:
    net(torch.ones(2, 5))
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 1:
            raise LookupError("no batch")
        return self.last(self.first(x))


def seen(model: nn.Module, inputs: list[Tensor], block: AbstractContextManager[None] | None) -> list[Caught]:
    """What is known after these calls, the errors of which were caught; something may be run in the block."""
    errors = CaughtErrors(lambda module: (model, "net", 7), lambda: block)
    for each in inputs:
        try:
            model(each)
        except Exception as error:
            errors.raised(model, error)
    return errors.caught()


@pytest.fixture(autouse=True)
def _no_last_error() -> Iterator[None]:
    before = getattr(sys, "last_value", None)
    sys.last_value = None
    yield
    sys.last_value = before


def test_errors_of_one_place_are_counted_and_the_first_says_which_layer_was_given_what() -> None:
    (caught,) = seen(Net(), [torch.ones(2, 5), torch.ones(2, 4), torch.ones(3, 6)], nullcontext())
    assert (caught.class_name, caught.name, caught.call) == ("Net", "net", 7)
    assert (caught.error, caught.count) == ("RuntimeError", 2)
    assert caught.trace is not None
    assert [finding.message for finding in caught.trace.findings] == [
        "first (Linear) expects 4 features, got 5; given input 2×5 (the argument x), weight 3×4, bias 3"
    ]


def test_a_layer_in_a_sequence_of_layers_is_named() -> None:
    class Holds(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)  # type: ignore[no-any-return]

    net = Holds()
    net.body = nn.Sequential(nn.ReLU(), nn.Linear(4, 3))
    (caught,) = seen(net, [torch.ones(2, 5)], nullcontext())
    assert caught.trace is not None
    assert [finding.message for finding in caught.trace.findings] == [
        "body.1 (Linear) expects 4 features, got 5; given input 2×5 from ReLU, weight 3×4, bias 3"
    ]


def test_the_layer_is_named_where_only_code_of_libraries_ran_as_in_a_thread_of_a_pool() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Linear(4, 3))
    errors = CaughtErrors(lambda module: (net, "net", 7), nullcontext)
    with ThreadPoolExecutor(1) as pool:
        for width in (5, 6):
            pool.submit(errors.raised, net, pool.submit(net, torch.ones(2, width)).exception()).result()
    assert caught_lines(errors.caught()) == [
        "call 7 of Sequential (net) raised RuntimeError in 1 (Linear), and the program went on, 2 times in all: "
        "mat1 and mat2 shapes cannot be multiplied (2x5 and 4x3)"
    ]


def test_an_error_that_the_program_raises_itself_is_counted_and_no_more() -> None:
    (caught,) = seen(Net(), [torch.ones(4)], nullcontext())
    assert (caught.error, caught.text, caught.count, caught.trace) == ("LookupError", "no batch", 1, None)


def test_nothing_is_run_again_where_something_is_being_recorded() -> None:
    (caught,) = seen(Net(), [torch.ones(2, 5)], None)
    assert caught.trace is None


def test_the_error_that_ended_the_program_is_not_one_that_it_caught() -> None:
    net, errors = Net(), CaughtErrors(lambda module: (module, None, None), lambda: None)
    for width in (5, 6):
        with pytest.raises(RuntimeError) as raised:
            net(torch.ones(2, width))
        errors.raised(net, raised.value)
    sys.last_value = ValueError("it came to this")
    sys.last_value.__cause__ = raised.value
    assert [each.count for each in errors.caught()] == [1]


def test_no_error_and_no_tensor_is_kept_alive() -> None:
    x = torch.ones(2, 5)
    alive = weakref.ref(x)
    caught = seen(Net(), [x], nullcontext())
    del x
    assert caught and alive() is None


@pytest.mark.parametrize("ends", [[], ["end"]])
def test_a_server_that_answers_with_an_error_gets_it_explained(ends: list[str], tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    command = [sys.executable, "-m", "fwdtrace", "exec", "-o", "s.json", "server.py", *ends]
    ran = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": CHILDS_PATH}, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (len(ends), f"{[200] * 30 + [500, 200, 500, 200]}\n")
    said = [line for line in ran.stderr.splitlines() if line.startswith("fwdtrace: ")]
    assert said[1:3] == [
        "fwdtrace: call 31 of Net (net) raised RuntimeError at server.py:12, and the program went on, "
        "2 times in all: mat1 and mat2 shapes cannot be multiplied (2x7 and 8x16)",
        "fwdtrace: FT006 server.py:12: first (Linear) expects 8 features, got 7; given input 2×7 (the argument x), "
        "weight 16×8, bias 16",
    ]
    assert load_trace(tmp_path / "s.error.json").findings[0].code == "FT006"
    assert (tmp_path / "s.error.2.json").exists() == bool(ends)


def test_a_first_call_that_raised_gives_way_to_the_next_one() -> None:
    traces = ProgramTraces((), lambda trace, file: True)

    def keep(kept: KeptCall) -> bool:
        traces.add(kept.root, kept.round, kept.trace)
        return False

    watch = Watch(Wanted(), Options(), keep)
    watch.begin()
    try:
        net = Net()
        for width in (6, 5, 4, 4):
            with suppress(RuntimeError):
                net(torch.ones(2, width))
    finally:
        watch.end()
    (trace,) = traces.by_key.values()
    assert (trace.run.call, [call.path for call in trace.calls]) == (3, ["", "first", "last"])
    assert [call.error for call in trace.calls] == [None] * 3


def test_where_every_call_raises_few_are_recorded() -> None:
    kept: list[int | None] = []

    def keep(each: KeptCall) -> bool:
        kept.append(each.trace.run.call)
        return False

    watch = Watch(Wanted(), Options(), keep)
    watch.begin()
    try:
        net = Net()
        for _ in range(30):
            with suppress(RuntimeError):
                net(torch.ones(2, 5))
    finally:
        watch.end()
    assert kept == [1, 2, 3, 4]
