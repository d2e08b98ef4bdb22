"""The processes that a program starts, and what each one that is followed leaves for the first one to report."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fwdtrace.trace.text import listed

RANK = "RANK"


def new_folder() -> str:
    """A folder for the processes of a program."""
    return tempfile.mkdtemp(prefix="fwdtrace-")


@dataclass(frozen=True)
class Child:
    """What a process has to say: its number, its name, a line for each model, its files, the codes of its findings.

    `crash` is the saved trace of the call that raised the error that ended it.
    """

    number: int
    name: str
    lines: Sequence[str] = ()
    files: Sequence[str] = ()
    codes: Sequence[str] = ()
    crash: str | None = None


@dataclass(frozen=True)
class Children:
    """The folder in which the processes of one program get their numbers and leave their word."""

    folder: Path

    def claim(self) -> int:
        """The next number that no other process has; that of the process if the folder has gone."""
        number = 1
        while True:
            try:
                os.close(os.open(self.folder / str(number), os.O_CREAT | os.O_EXCL))
                return number
            except FileExistsError:
                number += 1
            except OSError:  # the first process has ended, and nobody will report this one
                return os.getpid()

    def leave(self, child: Child) -> None:
        """Leave word, in place of what the same process has left before."""
        file = self.folder / f"{child.number}.json"
        with contextlib.suppress(OSError):
            part = file.with_suffix(".part")
            part.write_text(json.dumps(asdict(child)), encoding="utf-8")
            part.replace(file)

    def all(self) -> list[Child]:
        """What all processes have left so far, by their numbers."""
        read = [Child(**json.loads(file.read_text(encoding="utf-8"))) for file in self.folder.glob("*.json")]
        return sorted(read, key=lambda child: child.number)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def lines_of_children(children: Sequence[Child]) -> list[str]:
    """What the children have to say, those that say the same in one line."""
    said: dict[str, list[Child]] = {}
    for child in children:
        for line in child.lines:
            said.setdefault(line, []).append(child)
    return [f"{named(those)}: {line}" for line, those in said.items()]


def named(children: Sequence[Child]) -> str:
    """One child with its name, several by their numbers."""
    numbers = [child.number for child in children]
    if len(children) == 1:
        return f"child {numbers[0]} ({children[0].name})"
    if len(children) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"children {numbers[0]} to {numbers[-1]}"
    return f"children {listed([str(number) for number in numbers])}"


def name_of_this_process() -> str:
    """What multiprocessing calls it, or torchrun, or its command."""
    multiprocessing: Any = sys.modules.get("multiprocessing.process")
    name: str = multiprocessing.current_process().name if multiprocessing else "MainProcess"
    if name != "MainProcess":
        return name
    if RANK in os.environ:
        return f"rank {os.environ[RANK]}"
    return os.path.basename(sys.argv[0] if getattr(sys, "argv", None) else "") or "python"


def processes_of_multiprocessing() -> int:
    """How many processes the program has started by multiprocessing."""
    multiprocessing: Any = sys.modules.get("multiprocessing.process")
    return int(repr(multiprocessing._process_counter).strip("count()")) - 1 if multiprocessing else 0


_OTHERS_FORK = ("multiprocessing.popen_fork", "subprocess")
"""Modules that fork for a program: the first counts by itself, and the second runs another program."""
_forks: list[str] = []
"""For each fork of the program's own, the module that made it."""


def forked() -> None:
    """Count a fork of this process: Python calls this right after it, from the line that forked."""
    by = str(sys._getframe(1).f_globals.get("__name__"))
    if by not in _OTHERS_FORK:
        _forks.append(by)


def processes_known() -> int:
    """How many processes the program has started by multiprocessing or forked itself."""
    return processes_of_multiprocessing() + len(_forks)


def processes_started() -> int:
    """How many processes the program has started, as far as Python knows; 1 if there may have been more."""
    return processes_known() or int(os.times().children_user > 0)
