"""The line of a crash, an op or a call is the model's own, and not that of a library that it calls."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fwdtrace import record
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
