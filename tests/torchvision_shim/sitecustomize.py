"""Let torchvision be imported where its compiled operators do not load, as beside a CPU build of torch.

On the PYTHONPATH of a child process Python imports this by itself; nothing is done, and no torch imported, until
somebody imports torchvision.
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


sys.meta_path.insert(0, DefinesOperators())
