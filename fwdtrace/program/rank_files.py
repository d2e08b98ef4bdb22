"""The files that the processes of torchrun write: which rank a file belongs to, and whether that rank has ended."""

from __future__ import annotations

import glob
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fwdtrace.errors import FwdtraceError

WAIT_FOR_RANKS = 10.0
"""Seconds that rank 0 waits at its end for the others to end."""


@dataclass(frozen=True)
class Ranks:
    """The rank of this process, `own`, among those that torchrun has started; `near` of them share its machine."""

    own: int
    near: int


def ranks_of(environment: Mapping[str, str]) -> Ranks | None:
    """The ranks as torchrun describes them in the environment; None if there is one process alone."""
    size = environment.get("WORLD_SIZE", "1")
    if "RANK" not in environment or not size.isdigit() or size == "1":
        return None
    return Ranks(int(environment["RANK"]), int(environment.get("LOCAL_WORLD_SIZE", size)))


@dataclass(frozen=True)
class RankFiles:
    """The files `NAME.rankR.json` and, for more models or calls, `NAME.rankR.PART.json`.

    As long as a rank runs, there is an empty file beside them, its mark.
    """

    name: str
    suffix: str
    folder: Path

    def begin(self, rank: int) -> Path:
        """Delete what an earlier run has left of a rank, mark the rank as running, and give its first file.

        FwdtraceError if no file can be written there.
        """
        try:
            for old in self.of(rank).values():
                old.unlink()
            self._mark(rank).touch()
        except OSError as error:
            raise FwdtraceError(f"-o: no trace can be written to {self.folder}: {error.strerror}") from None
        return self.folder / f"{self.name}.rank{rank}{self.suffix}"

    def end(self, rank: int) -> None:
        """Remove the mark: the rank has ended, and will write nothing more."""
        self._mark(rank).unlink(missing_ok=True)

    def wait(self, ranks: int) -> list[int]:
        """Wait until the ranks below this number have ended, and give those that have not when it takes too long."""
        until = time.monotonic() + WAIT_FOR_RANKS
        while True:
            waiting = [rank for rank in range(ranks) if self._mark(rank).exists() or not self.of(rank)]
            if not waiting or time.monotonic() > until:
                return [rank for rank in waiting if self._mark(rank).exists()]
            time.sleep(0.05)

    def of(self, rank: int) -> dict[str, Path]:
        """The files of a rank by their names without the rank, `NAME` or `NAME.PART`."""
        start = f"{self.name}.rank{rank}"
        files = {}
        for file in self.folder.glob(f"{glob.escape(start)}*{self.suffix}"):
            part = file.name.removeprefix(start).removesuffix(self.suffix)
            if not part or (part.startswith(".") and part != ".trace"):  # a .trace.json is of another format
                files[self.name + part] = file
        return dict(sorted(files.items()))

    def _mark(self, rank: int) -> Path:
        return self.folder / f".{self.name}.rank{rank}.running"
