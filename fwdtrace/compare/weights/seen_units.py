"""Whether the units of a model are those that its structure says, seen as it runs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn

from fwdtrace.compare.weights.units import Unit


class SeenUnits:
    """Watches which modules are called: each unit must be, and one inside each module above units that is called."""

    def __init__(self, model: nn.Module, units: Iterable[Unit]) -> None:
        self._missing = {unit.path for unit in units}
        self._open: list[str] = []
        self._without: set[str] = set()
        above = {path[:place] for path in self._missing for place, letter in enumerate(path) if letter == "."} | {""}
        self._first = set(above)
        self.handles = []
        for path in self._missing:
            self.handles.append(model.get_submodule(path).register_forward_pre_hook(partial(self._unit, path)))
        for path in above:
            module = model.get_submodule(path)
            self.handles.append(module.register_forward_pre_hook(partial(self._begins, path)))
            self.handles.append(module.register_forward_hook(partial(self._ends, path), always_call=True))

    @property
    def are_all(self) -> bool:
        """Whether the units were those that were expected, after the run."""
        return not self._missing and not self._without

    def _unit(self, path: str, module: nn.Module, args: Any) -> None:
        self._missing.discard(path)
        self._without.difference_update(self._open)

    def _begins(self, path: str, module: nn.Module, args: Any) -> None:
        self._open.append(path)
        if path in self._first:
            self._first.remove(path)
            self._without.add(path)

    def _ends(self, path: str, module: nn.Module, args: Any, output: Any) -> None:
        if path in self._open:
            del self._open[self._open.index(path) :]
