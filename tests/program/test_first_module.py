"""What watches models begins with the first module that a program makes, in whatever way it makes it."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.nn.modules.module import Module

from fwdtrace.program.first_module import NAMES, FirstModule
from tests.helpers.commands import REPOSITORY


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = {name: Module.__dict__[name] for name in NAMES}
    yield
    for name, method in before.items():
        setattr(Module, name, method)


@pytest.mark.parametrize(
    "make",
    [
        lambda given: nn.Linear(2, 2),
        lambda given: copy.copy(given),
        lambda given: pickle.loads(pickle.dumps(given)),
    ],
)
def test_it_begins_once_and_leaves_nothing_in_place(make: Any) -> None:
    given, before = nn.ReLU(), {name: Module.__dict__[name] for name in NAMES}
    seen: list[str] = []
    FirstModule(lambda: seen.append("begun"), lambda module: seen.append("late"))
    assert seen == []
    make(given)
    assert {name: Module.__dict__[name] for name in NAMES} == before
    make(given)
    assert seen == ["begun"]


def test_what_begins_sees_the_first_module_too_and_may_make_modules() -> None:
    made: list[str] = []

    def begin() -> None:
        original = Module.__init__

        def noted(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            original(module, *args, **kwargs)
            made.append(type(module).__name__)

        Module.__init__ = noted  # type: ignore[method-assign]
        nn.ReLU()

    FirstModule(begin, lambda module: made.append("late"))
    nn.Tanh()
    assert made == ["ReLU", "Tanh"]


def test_a_wrapper_that_the_program_has_put_around_it_stays() -> None:
    seen: list[str] = []
    FirstModule(lambda: seen.append("begun"), lambda module: seen.append(type(module).__name__))
    ours = Module.__init__

    def theirs(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        seen.append("theirs")
        ours(module, *args, **kwargs)

    Module.__init__ = theirs  # type: ignore[method-assign]
    nn.Tanh()
    nn.ReLU()
    assert seen == ["theirs", "begun", "Tanh", "theirs"]
    assert Module.__init__ is theirs


def test_a_module_that_cannot_be_made_has_the_traceback_that_it_would_have(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__(3)\n\nNet()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    commands = [[sys.executable, "made.py"], [sys.executable, "-m", "fwdtrace", "exec", "made.py"]]
    bare, traced = (
        subprocess.run(each, cwd=tmp_path, env=environment, capture_output=True, text=True) for each in commands
    )
    said = "fwdtrace: no call was kept: the program ended before it called a model\n"
    assert (traced.returncode, traced.stderr.replace(said, "")) == (bare.returncode, bare.stderr)
