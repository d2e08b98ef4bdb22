"""The line of a crash, an op or a call is the model's own, and not that of a library that it calls."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
import torch
from torch import nn

from fwdtrace import record
from fwdtrace.recorder import boundaries
from fwdtrace.recorder.frames import Position, position_outside_torch, site_at
from fwdtrace.recorder.measures import ops
from fwdtrace.recorder.session import running
from fwdtrace.trace import Trace

LIBRARY = """
def folded(x, size):
    if x.shape[-1] % size:
        raise ValueError(f"{x.shape[-1]} is no multiple of {size}")
    return x.reshape(-1, size)

class Layer(__import__("torch").nn.Module):
    def forward(self, x):
        return folded(x, 4)
"""
MODEL = """
from torch import nn
from some_library import Layer, folded

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.act, self.layer = nn.ReLU(), Layer()

    def forward(self, x, how):
        x = self.act(x)
        if how == "function":
            return folded(x, 4)
        return self.layer(x)
"""

ODD = """
import functools
from torch import nn

def passing(function):
    @functools.wraps(function)
    def forward(*args, **kwargs):
        return function(*args, **kwargs)
    return forward

def through(module, x):
    return module(x) + 1

class Plain(nn.Module):
    def __init__(self, ask=None):
        super().__init__()
        self.act, self.both, self.ask = nn.ReLU(), nn.Sequential(nn.ReLU(), nn.Tanh()), ask

    def forward(self, x):
        x = through(self.both, self.act(x)) * 2
        return x if self.ask is None else self.ask(x)

class Derived(Plain):
    def forward(self, x):
        return super().forward(self.act(x) - 1)

class Decorated(Plain):
    @passing
    def forward(self, x):
        return through(self.act, self.both(x))

def acting(function):
    def forward(module, x):
        return function(module, module.act(x) + 1)
    return forward

class Acting(Plain):
    forward = acting(lambda module, x: x if module.ask is None else module.ask(module, x))

class Steps(Plain):
    def forward(self, x):
        for _ in range(3):
            x = through(self.act, self.both(x)) + 1
            yield x
"""
USERS = """
from torch import nn
from odd_library import Acting, Decorated, Derived, Plain, Steps, acting, passing, through

def asked(x):
    return wrapped(inner, through(inner, inner(x))) * 3

def asked_of(module, x):
    return acted(module, x)

wrapped, inner, acted = passing(through), nn.ReLU(), acting(lambda module, x: x)

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([Plain(), Plain(asked), Derived(asked), Decorated(), Acting(asked_of), Plain()])
        self.steps, self.line = Steps(), nn.Sequential(Plain(), Derived(asked))
        self.steps.register_forward_hook(lambda module, args, output: [next(output), output][1])
        self.parts[-1].forward = lambda x: through(self.parts[0], x) + self.parts[1].act(x)
        self.parts[0].register_forward_pre_hook(lambda module, args: (wrapped(inner, args[0]) + inner(args[0]),))
        self.line[0].register_forward_hook(lambda module, args, output: module.both(through(inner, output)))

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        steps = self.steps(x)
        x = self.line(next(steps)) + Plain.forward(self.parts[2], x) + self.parts[3].forward(x)
        return x + through(inner, self.resumed(steps))

    def resumed(self, steps):
        return next(steps)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A model of a user's that calls a library which is installed."""
    installed = tmp_path / "lib" / "site-packages"
    (installed / "some_library").mkdir(parents=True)
    (installed / "some_library" / "__init__.py").write_text(LIBRARY)
    (tmp_path / "users_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("users_model").Net()
    for name in ("users_model", "some_library"):
        sys.modules.pop(name)


def recorded(model: nn.Module, *args: object) -> Trace:
    recording = record(model, ops=True)
    try:
        with recording:
            model(*args)
    except ValueError:
        pass
    return recording.trace


def test_an_op_inside_a_function_of_a_library_is_at_the_models_line(net: Any) -> None:
    (op,) = recorded(net, torch.zeros(2, 8), "function").ops or ()
    assert op.name == "Tensor.reshape" and op.site is not None
    assert op.site.code == "return folded(x, 4)" and op.site.file.endswith("users_model.py")


@pytest.mark.parametrize(("how", "code"), [("function", "return folded(x, 4)"), ("layer", "return self.layer(x)")])
def test_a_crash_inside_a_library_is_at_the_models_line(net: Any, how: str, code: str) -> None:
    (finding,) = recorded(net, torch.zeros(2, 7), how).findings
    assert finding.code == "FT006" and "7 is no multiple of 4" in finding.message
    assert finding.site is not None and finding.site.code == code and finding.site.file.endswith("users_model.py")


def test_the_lines_of_a_librarys_own_model_are_the_librarys(net: Any) -> None:
    (op,) = recorded(net.layer, torch.zeros(2, 8)).ops or ()
    assert op.site is not None and op.site.code == "return x.reshape(-1, size)"


def test_the_position_in_the_forward_that_runs_is_what_a_search_through_all_frames_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "odd_library.py").write_text(ODD)
    (tmp_path / "odd_users.py").write_text(USERS)
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend(str(tmp_path))
    both: list[tuple[str, Position, Position]] = []

    def found(frame: FrameType, inherited: Position, innermost: CodeType | None = None) -> Position:
        assert running.session is not None
        innermost = running.session.threads.stack[-1].seen.code
        quick = position_outside_torch(frame, inherited, innermost)
        searched = position_outside_torch(frame, inherited)
        both.append((f"{frame.f_code.co_name} is {frame.f_code is innermost}", quick, searched))
        return quick

    monkeypatch.setattr(boundaries, "position_outside_torch", found)
    monkeypatch.setattr(ops, "position_outside_torch", found)
    model = importlib.import_module("odd_users").Own()
    recorded(model, torch.ones(2))
    for name in ("odd_users", "odd_library"):
        sys.modules.pop(name)
    assert [(how, site_at(quick)) for how, quick, _ in both] == [(how, site_at(other)) for how, _, other in both]
    assert {"forward is True", "forward is False", "through is False", "asked is False"} <= {how for how, *_ in both}
