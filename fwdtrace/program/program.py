"""The program to run under watch, as the command line describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fwdtrace.program.wanted import Wanted


@dataclass(frozen=True)
class Program:
    """A program to run, which calls of its models to keep, and what to measure in them.

    `script` is a file or, with `is_module`, the name of a module. Which calls: see `Wanted`. After `stop_after` kept
    calls the program is ended. The first trace is saved in each of `files`. With `children`, a folder in which they can
    leave word, the processes that the program starts are followed too.
    """

    script: str
    is_module: bool = False
    ops: bool = True
    check_finite: bool = False
    stats: bool = False
    costs: bool = False
    backward: bool = False
    save_values: str | None = None
    max_bytes: int = 2**30
    files: Sequence[str] = ()
    first: int | None = None
    call: int | None = None
    every: int | None = None
    train: bool = False
    model: str | None = None
    stop_after: int | None = None
    on: Sequence[str] | None = None
    keep: int = 10
    last: int = 5
    save_step: str | None = None
    children: str | None = None

    @property
    def wanted(self) -> Wanted:
        """Which calls of its models to keep."""
        chosen = Wanted(self.first, self.call, self.every, self.train, self.model, self.looks)
        return replace(chosen, alone=bool(self.on) and not chosen.by_number and not self.train)

    @property
    def with_stats(self) -> bool:
        """Whether statistics are measured: to be shown, or to tell beside an event how the numbers have grown."""
        return self.stats or (self.every is not None and "nonfinite" in (self.on or ()))

    @property
    def looks(self) -> bool:
        """Whether every call is looked at for some event."""
        return self.check_finite or any(event != "error" for event in self.on or ())

    @property
    def name(self) -> str:
        """What the program is called, without a folder, a package or a suffix."""
        return self.script.rpartition(".")[2] if self.is_module else Path(self.script).stem
