"""Importing this puts off the deadlines of the package, for tests on a busy machine; a test of one sets its own.

Nothing is done until somebody imports a module of ours that has a deadline.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

DEADLINES = {
    "fwdtrace.program.endings": ("MOST_SECONDS",),
    "fwdtrace.program.rank_files": ("WAIT_FOR_RANKS",),
    "fwdtrace.run.guess": ("SECONDS",),
    "fwdtrace.trials.search": ("SECONDS", "SECONDS_WITHOUT_MEMORY"),
}
OUT_OF_REACH = 200.0


class PutsOffDeadlines(MetaPathFinder):
    """Finds our modules that have a deadline, and sets that when they have been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of such a module, None of others."""
        spec = PathFinder.find_spec(fullname, path) if fullname in DEADLINES else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            vars(module).update(dict.fromkeys(DEADLINES[fullname], OUT_OF_REACH))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, PutsOffDeadlines())
