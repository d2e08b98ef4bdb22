"""Which module of a running program holds which, so that the topmost one around a module is found."""

from __future__ import annotations

import weakref
from types import FrameType

import torch
from torch import nn

from fwdtrace.trace.called import Origin


def origin_of_now(frame: FrameType | None) -> Origin:
    """How the module comes to be whose state is being set from this frame: by `copy`, or by what reads a pickle."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "copy":
            return "a copy"
        frame = frame.f_back
    return "loaded"


class Holders:
    """The modules that were made, and which of them holds which; none is kept alive. One thread uses it at a time.

    `saw_script` says whether one of them was of TorchScript.
    """

    def __init__(self) -> None:
        self._made: dict[int, weakref.ref[nn.Module]] = {}
        self._holders: dict[int, tuple[weakref.ref[nn.Module], str]] = {}
        self._unplaced: set[int] = set()
        self._origins: dict[int, Origin] = {}
        self.saw_script = False

    def made(self, module: nn.Module, origin: Origin | None = None) -> None:
        """A module was constructed, copied or unpickled; a copy has its submodules already."""
        key = id(module)
        self.saw_script = self.saw_script or isinstance(module, torch.jit.ScriptModule)
        if origin is not None:
            self._origins[key] = origin
        self._made[key] = weakref.ref(module, lambda _: self._forget(key))
        self._unplaced.add(key)
        self._look_into(module)

    def placed(self, holder: nn.Module, name: str, submodule: nn.Module) -> None:
        """A module gets another as its submodule; of several that hold one, the first counts as long as it does."""
        if self._holder(submodule) is None:
            self._holders[id(submodule)] = weakref.ref(holder), name

    def origin(self, module: nn.Module) -> Origin | None:
        """How a module came to be that was not constructed."""
        return self._origins.get(id(module))

    def alive(self) -> list[nn.Module]:
        """The modules that there are, in order of making."""
        return [module for reference in list(self._made.values()) if (module := reference()) is not None]

    def top(self, module: nn.Module, *, look: bool) -> tuple[nn.Module, str]:
        """The topmost module that holds this one, and its path in there.

        With `look`, all modules are searched for a holder that no hook reported.
        """
        names: list[str] = []
        passed = {id(module)}
        while (held := self._found(module, look)) is not None and id(held[0]) not in passed:
            module, name = held
            passed.add(id(module))
            names.append(name)
        return module, ".".join(reversed(names))

    def _found(self, module: nn.Module, look: bool) -> tuple[nn.Module, str] | None:
        held = self._holder(module)
        if held is not None or id(module) not in self._unplaced or not look:
            return held
        self._unplaced.clear()
        for other in self.alive():  # no hook reports what is put straight into `_modules`
            self._look_into(other)
        held = self._holder(module)
        self._unplaced.discard(id(module))
        return held

    def _holder(self, module: nn.Module) -> tuple[nn.Module, str] | None:
        key = id(module)
        if key not in self._holders:
            return None
        reference, name = self._holders[key]
        holder = reference()
        try:
            if holder is not None and holder.__dict__["_modules"][name] is module:
                return holder, name
        except KeyError:  # it has gone from there
            pass
        del self._holders[key]
        self._unplaced.add(key)
        return None

    def _look_into(self, module: nn.Module) -> None:
        # A list: another thread may be building it.
        for name, child in list(module.__dict__.get("_modules", {}).items()):
            if child is not None:
                self.placed(module, name, child)

    def _forget(self, key: int) -> None:
        self._made.pop(key, None)
        self._unplaced.discard(key)
        self._holders.pop(key, None)
        self._origins.pop(key, None)
