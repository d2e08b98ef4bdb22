"""Programs of different kinds below `fwdtrace exec` and below `python`, left alone and interrupted at any moment."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.commands import CHILDS_PATH, HANG, ending
from tests.program.endings import AT_THE_END, BEGIN, NEED_TORCH, PROGRAMS, STAND_IN, STAY


@dataclass(frozen=True)
class End:
    """What is there when a program has ended; the frames in stderr are the program's and Python's."""

    status: int
    stdout: str
    stderr: str
    files: dict[str, bytes]
    children: int


def write_stand_in(folder: Path) -> str:
    """A torch that the program below plain Python is content with: importing the real one is most of what it costs."""
    folder.mkdir(parents=True)
    (folder / "torch.py").write_text(STAND_IN, encoding="utf-8")
    return str(folder)


def end_of(
    before: list[str],
    source: str,
    folder: Path,
    number: signal.Signals | None,
    after: float,
    stay: int,
    stand_in: str | None = None,
) -> End:
    """Run a program; with a signal, send it so many seconds after the program is ready; so many processes may stay."""
    folder.mkdir(parents=True)
    script = folder / "program.py"
    script.write_text(BEGIN + source, encoding="utf-8")
    mark = uuid.uuid4().hex
    with (folder.parent / f"{folder.name}.err").open("w") as err, ending(subprocess.Popen(
        [sys.executable, *before, "program.py", "go" if number is None else "wait"], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=err,
        env={
            # No marks below the piece of a line where a signal came: that may be any.
            **os.environ, "PYTHONPATH": stand_in or CHILDS_PATH, "PYTHONNODEBUGRANGES": "1",
            "OMP_NUM_THREADS": "1", "MARK": mark,
        },
    )) as program:  # fmt: skip
        assert program.stdout is not None
        lines = []
        while not lines or lines[-1] not in ("ready\n", ""):
            lines.append(program.stdout.readline())
        assert lines[-1], (folder.parent / f"{folder.name}.err").read_text(encoding="utf-8")
        if number is not None:
            time.sleep(after)
            program.send_signal(number)
        status = program.wait(timeout=HANG)
        children = _wait_for_processes(mark, stay)
        out = "".join([*lines, program.stdout.read()])
    script.unlink()
    said = (folder.parent / f"{folder.name}.err").read_text(encoding="utf-8")
    files = {
        re.sub(r"\btmp\w{8}\b", "TEMPORARY", str(file.relative_to(folder))): file.read_bytes().replace(
            bytes(folder), b""
        )
        for file in folder.rglob("*")
        if file.is_file()
    }
    said = re.sub("0x[0-9a-f]+", "ADDRESS", said.replace(str(folder), ""))
    return End(status, out, said, files, children)


def _wait_for_processes(mark: str, stay: int) -> int:
    """How many processes with this mark in their environment stay when others have ended; they are ended."""
    until = time.monotonic() + HANG
    while True:
        left = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark.encode() in environment.read_bytes():
                    left.append(int(environment.parent.name))
        if len(left) <= stay or time.monotonic() > until:
            break
        time.sleep(0.05)
    for process in left:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
    return len(left)


def compare(name: str, number: signal.Signals | None, seed: str, folder: Path) -> None:
    source, after = PROGRAMS[name], random.Random(seed).uniform(0, 0.3)
    stand_in = write_stand_in(folder / "stand-in") if name not in NEED_TORCH else None
    stay = STAY.get(name, 0) if number is signal.SIGTERM else 0
    bare = end_of([], source, folder / "bare", number, after, stay, stand_in)
    assert bare.children == stay
    traced = end_of(["-m", "fwdtrace", "exec", "-o", "../t.json"], source, folder / "exec", number, after, stay)
    # What fwdtrace says comes last, except where Python says something of its own when it has ended all.
    told = "".join(line for line in traced.stderr.splitlines(True) if not line.startswith("fwdtrace: "))
    assert End(traced.status, traced.stdout, told, traced.files, traced.children) == bare
    assert (folder / "t.json").exists()


ENDS = (None, signal.SIGINT, signal.SIGTERM)
QUICK = [("forked daemons", signal.SIGINT), ("asyncio with a handler", signal.SIGTERM)]
"""What is tried in every run."""
SWEEP = [
    *(("inside a call", signal.SIGINT), ("together", signal.SIGINT), ("together", signal.SIGTERM)),
    *((name, ENDS[place % 3]) for place, name in enumerate(PROGRAMS) if name not in (*AT_THE_END, "together")),
]
"""Each program once, in turn with another end, or together with others; the long run has each with every end."""


def marks(case: tuple[str, signal.Signals | None]) -> list[pytest.MarkDecorator]:
    if case in QUICK:
        return []
    return [pytest.mark.sweep if case in SWEEP and case[0] not in dict(QUICK) else pytest.mark.long]


@pytest.mark.parametrize(
    ("name", "number"), [pytest.param(*case, marks=marks(case)) for case in itertools.product(PROGRAMS, ENDS)]
)
def test_a_program_leaves_what_it_leaves_below_python(name: str, number: signal.Signals | None, tmp_path: Path) -> None:
    compare(name, number, name, tmp_path)
