"""Have the models of the program watched as soon as it imports torch, and what was kept told when it has ended."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from fwdtrace.program.endings import at_end
from fwdtrace.program.python import settings_of_this_start, when_imported

if TYPE_CHECKING:
    from fwdtrace.cli.exec import Watched


def begin() -> None:
    """Called by Python before it runs the program; nothing of ours is imported here that is not needed yet."""
    settings = settings_of_this_start()
    begun: list[Watched] = []

    def watch() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what we import: the filters are the program's
            begun.append(_watched(settings))
            begun[0].begin()

    def end() -> None:
        (begun[0] if begun else _watched(settings)).end()

    at_end(end)
    when_imported("torch", watch)


def _watched(settings: dict[str, Any]) -> Watched:
    from fwdtrace.cli.exec import Watched

    return Watched(settings)
