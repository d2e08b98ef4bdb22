"""Two programs -> TraceComparison: each runs in a process of its own under `exec`, and what both saved is compared."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.saved import compare_saved
from fwdtrace.trace.text import listed

MOST_LINES = 12
"""The last lines of a program's stderr that are shown if it saved nothing."""


@dataclass(frozen=True)
class ProgramsPlan:
    """Two programs as command lines, `SCRIPT ARGS` or `-m MODULE ARGS`, and which calls of their models to compare.

    Without `call` and `first` it is the first call. Each program is ended as soon as these calls are there.
    """

    first_program: str
    second_program: str
    maps: tuple[str, ...] = ()
    call: int | None = None
    first: int | None = None
    model: str | None = None
    max_bytes: int = 2**30


def compare_two_programs(plan: ProgramsPlan, tell: Callable[[str], None] = lambda text: None) -> TraceComparison:
    """Run both programs, one after the other, and compare the calls; FwdtraceError if one of them keeps none."""
    commands = _commands(plan)
    with TemporaryDirectory() as folder:
        files, notes = [], []
        for name, command in zip(("first", "second"), commands, strict=True):
            tell(f"running the {name} program")
            file = Path(folder) / f"{name}.json"
            notes += _run(name, command, file, plan)
            files.append(str(file))
        tell("comparing what both did")
        comparison = compare_saved(files[0], files[1], plan.maps)
    return replace(comparison, notes=(*notes, *comparison.notes))


def _commands(plan: ProgramsPlan) -> list[list[str]]:
    commands = []
    for text in (plan.first_program, plan.second_program):
        try:
            command = shlex.split(text)
        except ValueError as error:
            raise FwdtraceError(f"--programs {text!r}: is no command line: {error}") from None
        if not command or command == ["-m"]:
            raise FwdtraceError("--programs: give two programs, such as 'train.py --lr 1e-3' or '-m package.train'")
        if command[0] != "-m" and not Path(command[0]).is_file():
            raise FwdtraceError(f"{command[0]}: there is no such file; name a Python file, or -m MODULE")
        commands.append(command)
    return commands


def _run(name: str, command: Sequence[str], file: Path, plan: ProgramsPlan) -> list[str]:
    """Run one program and have its calls saved in the file; notes on what else it did."""
    wanted = ["--first", str(plan.first)] if plan.first is not None else ["--call", str(plan.call or 1)]
    model = ["--model", plan.model] if plan.model is not None else []
    values = ["--save-values", str(file.with_suffix(".safetensors")), "--max-bytes", str(plan.max_bytes)]
    options = ["-o", str(file), "--backward", *wanted, *model, *values, "--stop-after", str(plan.first or 1)]
    ran = subprocess.run(
        [sys.executable, "-m", "fwdtrace", "exec", *options, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if not file.exists():
        said = "\n".join(f"  {line}" for line in ran.stderr.splitlines()[-MOST_LINES:])
        raise FwdtraceError(
            f"the {name} program, {shlex.join(command)}, kept no call (status {ran.returncode}):\n{said}"
        )
    others = sorted(other.stem.partition(".")[2] for other in file.parent.glob(f"{file.stem}.*.json"))
    models = [other for other in others if not other.startswith(("call", "error")) and ".call" not in other]
    notes = [f"the {name} program has further models, {listed(models)}; --model chooses one"] if models else []
    if ran.returncode:
        last = next((line for line in reversed(ran.stderr.splitlines()) if not line.startswith("fwdtrace: ")), "")
        notes.append(f"the {name} program ended with status {ran.returncode}: {last.strip()}")
    return notes
