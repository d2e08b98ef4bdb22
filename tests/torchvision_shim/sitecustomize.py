"""Let torchvision be imported where its compiled operators do not load, and have no deadline pass on a busy machine.

On the PYTHONPATH of a child process Python imports this by itself; nothing is done, and no torch imported, until
somebody imports torchvision or a module of ours that has a deadline. A test of a deadline sets its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",)
SCHEMAS = (*SCHEMAS, SCHEMAS[0].replace("nms", "qnms", 1))
kept_alive: list[object] = []

DEADLINES = {
    "fwdtrace.program.endings": ("MOST_SECONDS",),
    "fwdtrace.program.rank_files": ("WAIT_FOR_RANKS",),
    "fwdtrace.run.guess": ("SECONDS",),
    "fwdtrace.trials.search": ("SECONDS", "SECONDS_WITHOUT_MEMORY"),
}
OUT_OF_REACH = 200.0


class DefinesOperators(MetaPathFinder):
    """A finder that finds nothing: it defines torchvision's operators when torchvision is first looked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Define the operators if `fullname` is torchvision; always None."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            define_operators()
        return None


def define_operators() -> None:
    """Define the schemas that `import torchvision` wants to extend, unless its compiled library brings them."""
    import torch

    spec = PathFinder.find_spec("torchvision")
    folders = spec.submodule_search_locations if spec else None
    for library in (library for folder in folders or () for library in Path(folder).glob("_C*.so")):
        try:
            torch.ops.load_library(str(library))
            return
        except OSError:
            continue
    definitions = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        definitions.define(schema)
    kept_alive.append(definitions)


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


sys.meta_path[:0] = [DefinesOperators(), PutsOffDeadlines()]
