"""The cell magic of notebooks, judged on a shell that runs cells as IPython's does."""

from __future__ import annotations

import linecache
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import fwdtrace
from fwdtrace import record
from fwdtrace.trace import Site


class Compiler:
    """Names each text that is compiled, and knows the number of its cell."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def cache(self, text: str, number: int = 0, raw_code: str | None = None) -> str:
        name = f"/tmp/ipykernel_1/{abs(hash(text))}.py"
        self.numbers[name] = number
        return name

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        return ("Cell", f"In[{self.numbers[name]}]") if name in self.numbers else None


@dataclass
class Shell:
    """Runs cells in one namespace, shows what they raise, and knows their numbers."""

    names: dict[str, Any] = field(default_factory=dict)
    magics: dict[str, Any] = field(default_factory=dict)
    compile: Compiler = field(default_factory=Compiler)
    execution_count: int = 3
    custom_exceptions: tuple[Any, ...] = ()
    CustomTB: Any = None
    raised: list[BaseException] = field(default_factory=list)

    @property
    def magics_manager(self) -> Any:
        return SimpleNamespace(magics={"cell": self.magics})

    def register_magic_function(self, function: Any, kind: str, name: str) -> None:
        assert kind == "cell"
        self.magics[name] = function

    def set_custom_exc(self, kinds: tuple[Any, ...], handler: Any) -> None:
        self.custom_exceptions, self.CustomTB = kinds, handler

    def showtraceback(self, told: tuple[Any, BaseException, Any], tb_offset: int | None = None) -> None:
        self.raised.append(told[1])
        sys.last_value = told[1]

    def run_cell(self, text: str, store_history: bool) -> Any:
        number = self.execution_count
        self.execution_count += store_history
        name = self.compile.cache(text, number, raw_code=text)
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        try:
            exec(compile(text, name, "exec"), self.names)
        except self.custom_exceptions as error:
            self.CustomTB(self, type(error), error, error.__traceback__)
            return SimpleNamespace(success=False)
        return SimpleNamespace(success=True)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell()
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.delattr(sys, "last_value", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    fwdtrace.load_ipython_extension(shell)
    shell.names.update(torch=torch, nn=nn, net=nn.Sequential(nn.Linear(4, 2)))
    return shell


def test_a_model_that_was_there_before_the_cell_is_shown_once_below_it(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.magics["fwdtrace"]("--first 1", "for _ in range(3):\n    y = net(torch.ones(1, 4))\n")
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0] == "fwdtrace: Sequential (net): call 1 of 3, all in training with gradients"
    assert out.count("0 Linear") == 1
    assert "In[3]:3" in out
    assert shell.names["y"].shape == (1, 2)
    assert shell.raised == []


def test_a_cell_that_raises_is_explained_and_its_traceback_has_no_frames_of_ours(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.magics["fwdtrace"]("", "net(torch.ones(1, 4))\nnet(torch.ones(1, 5))\n")
    assert "FT006 forward-error  In[3]:3" in capsys.readouterr().out
    (error,) = shell.raised
    files, step = [], error.__traceback__
    while step is not None:
        files.append(step.tb_frame.f_code.co_filename)
        step = step.tb_next
    assert not any("fwdtrace" in file and not file.endswith("test_notebook.py") for file in files)
    assert (shell.custom_exceptions, shell.CustomTB) == ((), None)


def test_the_error_of_an_earlier_cell_is_not_explained_again(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.magics["fwdtrace"]("", "net(torch.ones(1, 5))\n")
    capsys.readouterr()
    shell.magics["fwdtrace"]("", "net(torch.ones(1, 4))\n")
    assert "FT006" not in capsys.readouterr().out


def test_the_options_are_those_of_exec(
    shell: Shell, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shell.magics["fwdtrace"]("--call 2 --stats -o t.json", "net(torch.ones(1, 4))\nnet(torch.ones(2, 4))\n")
    assert capsys.readouterr().out == (
        "fwdtrace: Sequential (net): call 2 of 2, all in training with gradients\nfwdtrace: saved t.json\n"
    )
    trace = fwdtrace.load_trace(tmp_path / "t.json")
    assert trace.run.call == 2
    assert trace.calls[0].site == Site("In[3]", 3, "<module>", "net(torch.ones(2, 4))")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--nonsense", "fwdtrace: No such option: --nonsense"),
        ("--children", "fwdtrace: --children follows the processes of a program, under fwdtrace exec, not of a cell"),
        ("-o t.xyz", "fwdtrace: -o t.xyz: the suffix picks the format; use one of .json"),
        ("--help", "Usage: %%fwdtrace"),
    ],
)
def test_a_mistake_is_said_and_the_cell_does_not_run(
    options: str, said: str, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.magics["fwdtrace"](options, "ran = True")
    assert said in capsys.readouterr().out
    assert "ran" not in shell.names


def test_the_extension_can_be_unloaded(shell: Shell) -> None:
    fwdtrace.unload_ipython_extension(shell)
    assert shell.magics == {}


def test_a_recording_in_a_notebook_names_the_cell(shell: Shell) -> None:
    shell.names["record"] = record
    shell.run_cell("with record(net) as recording:\n    net(torch.ones(1, 4))\n", store_history=True)
    site = shell.names["recording"].trace.calls[0].site
    assert (site.file, site.line) == ("In[3]", 2)


def test_what_the_magic_runs_is_named_after_its_cell_though_the_shell_has_counted_on(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.names["magic"] = shell.magics["fwdtrace"]
    shell.run_cell('magic("", "net(torch.ones(1, 4))")', store_history=True)
    assert "In[3]:2" in capsys.readouterr().out
    assert shell.execution_count == 4
    assert "cache" not in vars(shell.compile)
