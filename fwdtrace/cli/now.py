"""`fwdtrace now PID`: ask a program under `exec --on signal` to record its next call."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

from fwdtrace.cli.declared import argument
from fwdtrace.cli.terminal import to_stderr
from fwdtrace.errors import FwdtraceError
from fwdtrace.program.python import VARIABLE


def now(
    process: Annotated[int, argument(metavar="PID", min=1, help="The number of the process of the program.")],
) -> None:
    """Ask a program under exec --on signal to record its next call.

    Example: fwdtrace now 4711
    """
    folder = Path("/proc", str(process))
    if not Path("/proc/self/status").exists():
        raise FwdtraceError(f"this system does not tell what process {process} is; kill -USR1 {process} asks it")
    if not folder.exists():
        raise FwdtraceError(f"there is no process {process}; ask the one that fwdtrace exec --on signal has started")
    try:
        heeds = _heeds(folder)
    except OSError as error:
        raise FwdtraceError(f"process {process} cannot be asked: {error.strerror}") from None
    if not heeds:
        raise FwdtraceError(f"process {process} does not wait to be asked; start it by fwdtrace exec --on signal")
    os.kill(process, signal.SIGUSR1)
    to_stderr(f"fwdtrace: process {process} records its next call")


def _heeds(folder: Path) -> bool:
    """Whether the process was started by `exec`, and would not be killed by the signal."""
    started_by_exec = any(
        each.startswith(f"{VARIABLE}=".encode()) for each in (folder / "environ").read_bytes().split(b"\0")
    )
    lines = (folder / "status").read_text().splitlines()
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return started_by_exec and bool(caught >> (signal.SIGUSR1 - 1) & 1)
