"""`fwdtrace now` asks only a process that waits to be asked: any other would be killed by the signal."""

from __future__ import annotations

import subprocess
import sys

from tests.helpers.commands import Command


def test_a_process_that_does_not_wait_for_it_is_left_alone(command: Command) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ran = command("now", str(other.pid))
    assert ran.status == 2
    assert "start it by fwdtrace exec --on signal" in ran.err
    other.communicate(b"\n")
    assert other.returncode == 0


def test_a_process_that_is_not_there_is_said_to_be_so(command: Command) -> None:
    ran = command("now", "4194305")
    assert (ran.status, ran.err.startswith("fwdtrace: there is no process 4194305")) == (2, True)
