"""Signals that end a program below `fwdtrace exec` at once and leave the trace, and `--stop-after` from anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from fwdtrace import load_trace
from tests.helpers.commands import CHILDS_PATH, HANG

SLOW = """\
import os
import signal
import sys
import time

import torch

torch.set_num_threads(1)
assert {signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)} == {signal.SIG_DFL}


class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)

    def forward(self, x):
        y = self.inner(x)
        print("ready", flush=True)
        exec(sys.argv[1])
        return y


Slow()(torch.ones(1, 2))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program in a process group of its own, and wait until it is ready; the group ends with the test.

    It has the default action for SIGHUP, which `nohup` would take away.
    """
    with ExitStack() as programs:

        def begin(*arguments: str) -> subprocess.Popen[str]:
            program = programs.enter_context(subprocess.Popen(
                [sys.executable, *arguments], cwd=tmp_path, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
                env={**os.environ, "PYTHONPATH": CHILDS_PATH, "OMP_NUM_THREADS": "1"},
            ))  # fmt: skip
            programs.callback(kill_group, program.pid)
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            return program

        yield begin


def kill_group(group: int) -> None:
    """End what is left of a process group."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def end_by(program: subprocess.Popen[str], number: signal.Signals, *, group: bool = False) -> None:
    """Have a signal end a program."""
    (os.killpg if group else os.kill)(program.pid, number)
    assert program.wait(timeout=HANG) == -number


@pytest.mark.parametrize(
    ("work", "number", "group"),
    [
        ("torch.ones(1).expand(10**14).sum()", signal.SIGTERM, False),  # in native code, for a day
        ("os.fork() or time.sleep(3000); time.sleep(3000)", signal.SIGHUP, True),
        pytest.param("time.sleep(3000)", signal.SIGHUP, False, marks=pytest.mark.long),
        pytest.param("while True: pass", signal.SIGTERM, False, marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_a_program_at_once_and_the_trace_is_written(
    work: str, number: signal.Signals, group: bool, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    program = start("-m", "fwdtrace", "exec", "-o", "t.json", "slow.py", work)
    time.sleep(0.2)  # so that it works when the signal comes; it ends in the same way if it does not yet
    end_by(program, number, group=group)
    _, said = program.communicate()
    assert "fwdtrace: saved t.json\n" in said
    assert [call.class_name for call in load_trace(tmp_path / "t.json").calls] == ["Slow", "Linear"]


HANDLES = """\
import os, signal, sys
if sys.argv[1] == "before":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
import torch
torch.set_num_threads(1)
torch.nn.Linear(2, 2)(torch.ones(1, 2))
if sys.argv[1] == "after":
    print(signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)) is signal.SIG_DFL)
child = os.fork()
if child == 0:
    signal.pause() if sys.argv[1] == "child" else os._exit(0)
if sys.argv[1] == "child":
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    sys.exit(6)
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize(
    ("when", "status", "out"),
    [
        ("after", 5, "True\n"),
        pytest.param("before", 5, "", marks=pytest.mark.sweep),
        pytest.param("child", 6, "-15\n", marks=pytest.mark.sweep),
    ],
)
def test_a_signal_that_is_the_programs_own_or_its_childs_stays_so(
    when: str, status: int, out: str, tmp_path: Path
) -> None:
    (tmp_path / "handles.py").write_text(HANDLES, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "fwdtrace", "exec", "-o", "t.json", "handles.py", when], cwd=tmp_path, timeout=HANG,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": CHILDS_PATH},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (status, out)
    assert "fwdtrace: saved t.json" in ran.stderr.splitlines()


STOPPED = """\
import atexit, sys, threading, time
import torch
net = torch.nn.Linear(2, 2)
atexit.register(print, "exit handler")
log = open("log.txt", "w")
log.write("held back")


def call():
    try:
        net(torch.ones(1, 2))
    finally:
        print("finally")


def carry_on():
    try:
        call()
    except:
        print("caught")
    print("not ended")


if sys.argv[1] == "plain":
    call()
elif sys.argv[1] == "caught":
    carry_on()
elif sys.argv[1] == "thread":
    threading.Thread(target=call).start()
    time.sleep(3000)
elif sys.argv[1] == "caught in a thread":
    threading.Thread(target=lambda: (threading.main_thread().join(), carry_on())).start()
elif sys.argv[1] == "beside a thread":
    threading.Thread(target=time.sleep, args=(3000,)).start()
    call()
print("not ended by itself" if "caught in" in sys.argv[1] else "not ended")
"""


@pytest.mark.parametrize(
    ("how", "out"),
    [
        ("caught", "finally\ncaught\nexit handler\n"),
        ("thread", "finally\nexit handler\n"),
        pytest.param("plain", "finally\nexit handler\n", marks=pytest.mark.long),
        pytest.param(
            "caught in a thread", "not ended by itself\nfinally\ncaught\nexit handler\n", marks=pytest.mark.sweep
        ),
        pytest.param("beside a thread", "finally\nexit handler\n", marks=pytest.mark.long),
    ],
)
def test_stop_after_ends_the_whole_program(how: str, out: str, tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(STOPPED, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "fwdtrace", "exec", "--stop-after", "1", "-o", "t.json", "stopped.py", how],
        cwd=tmp_path, timeout=HANG, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": CHILDS_PATH},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, out)
    assert ran.stderr.endswith("fwdtrace: saved t.json\n")
    assert load_trace(tmp_path / "t.json").calls[0].class_name == "Linear"
    assert (tmp_path / "log.txt").read_text() == "held back"


FAILS = """\
import signal, sys, time, torch
torch.nn.Linear(2, 2).forward(torch.ones(1, 2))
print("ready", flush=True)
if sys.argv[1] == "SIGINT":
    time.sleep(3000)
else:
    signal.pause()  # which comes back after a signal, so that the program is ending by itself when the signal ends it
"""


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.sweep)])
def test_with_fail_on_a_signal_reaches_the_program_and_is_what_ends_the_command(
    number: signal.Signals, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "fails.py").write_text(FAILS, encoding="utf-8")
    program = start("-m", "fwdtrace", "exec", "--fail-on", "FT001", "-o", "t.json", "fails.py", number.name)
    end_by(program, number)
    _, said = program.communicate()
    assert said.splitlines()[-1] == "fwdtrace: saved t.json"
    assert ("KeyboardInterrupt" in said.splitlines()) is (number is signal.SIGINT)
