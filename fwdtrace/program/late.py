"""What records and explains calls, imported when there is a first one: in most programs under watch nothing happens."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from fwdtrace.program.python import without_collecting
from fwdtrace.program.saved_step import StepToSave
from fwdtrace.program.steps import Keep, Optimizer

if TYPE_CHECKING:
    from fwdtrace.program.kept import Open
    from fwdtrace.program.replays import Replays


def open_for(*arguments: Any) -> Open:
    """As the function of this name that it imports."""
    with _importing():
        from fwdtrace.program import kept

    return kept.open_for(*arguments)


class LateReplays:
    """Gives the replays when it is called, and makes them when it is called first."""

    def __init__(
        self,
        unhooked: Callable[[], AbstractContextManager[None]],
        keep: Keep,
        saves: StepToSave,
        optimizer_of: Callable[[Optimizer | None], Any],
    ) -> None:
        self._arguments = unhooked, keep, saves, optimizer_of
        self._made: Replays | None = None

    def __call__(self) -> Replays:
        """The replays of the program."""
        if self._made is None:
            with _importing():
                from fwdtrace.program.replays import Replays

            self._made = Replays(*self._arguments)
        return self._made

    def keep_open(self) -> None:
        """Keep the replay that is running, if one is, for a program that is about to be killed."""
        if self._made is not None:
            self._made.keep_open()


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Import within a program: its garbage, and the filters of its warnings, are none of our business."""
    with without_collecting(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
