"""Why no call was kept: each reason has a sentence of its own."""

from __future__ import annotations

import multiprocessing
import warnings

import pytest
import torch

from fwdtrace.program import children, reasons
from fwdtrace.program.holders import Holders
from fwdtrace.program.reasons import why_nothing_was_kept
from fwdtrace.program.wanted import Wanted
from fwdtrace.trace.called import Called

NET = Called("m.Net", "net", None, None, {("", "__call__"): {"evaluation": 3}})
NAMES = ["Attention", "Sequential", "encoder", "encoder.0"]


@pytest.mark.parametrize(
    ("wanted", "called", "names", "reason"),
    [
        (Wanted(call=9), [NET], [], "call 9 was asked for, and Net (net) was called 3 times"),
        (Wanted(train=True), [NET], [], "Net (net) was called 3 times, never in training with gradients"),
        (
            Wanted(model="Atention"),
            [],
            NAMES,
            "no module that was called has the class or path Atention; near it: Attention",
        ),
        (
            Wanted(model="xyz"),
            [],
            NAMES,
            "no module that was called has the class or path xyz; called were Attention, Sequential, encoder and "
            "encoder.0",
        ),
        (Wanted(), [], ["ReLU"], "what was called has no parameters: ReLU; --model CLASS keeps such calls"),
        (Wanted(), [], [], "the program ended before it called a model"),
    ],
)
def test_the_reason_is_the_one_that_holds(
    wanted: Wanted, called: list[Called], names: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasons, "processes_started", lambda: 0)
    monkeypatch.setitem(reasons.sys.modules, "torch", reasons)
    assert why_nothing_was_kept(wanted, called, names) == reason


def test_a_program_that_made_a_torchscript_module_is_told_that_its_calls_are_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reasons, "processes_started", lambda: 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit goes out of use
        script = torch.jit.script(torch.nn.ReLU())
    holders = Holders()
    holders.made(script)
    assert holders.saw_script
    assert why_nothing_was_kept(Wanted(), [], [], script=True) == (
        "the program made a TorchScript module, which runs without Python: its calls are not seen; "
        "without torch.jit.script they are"
    )


def test_processes_of_the_program_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "processes_started", lambda: 2)
    assert why_nothing_was_kept(Wanted(), [], []) == (
        "the program itself called no model; it started 2 processes, whose calls are not traced; "
        "--children follows them"
    )


def test_started_processes_are_counted_by_multiprocessing() -> None:
    first = multiprocessing.Process(target=int)
    first.start()
    first.join()
    before = reasons.processes_started()
    process = multiprocessing.Process(target=int)
    process.start()
    process.join()
    assert reasons.processes_started() == before + 1


@pytest.mark.parametrize(("module", "more"), [("__main__", 1), ("multiprocessing.popen_fork", 0), ("subprocess", 0)])
def test_a_fork_of_the_programs_own_is_counted_and_those_of_python_are_not(
    module: str, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_forks", [])
    before = children.processes_known()
    exec("def fork():\n    forked()\nfork()", {"__name__": module, "forked": children.forked})
    assert children.processes_known() == before + more
