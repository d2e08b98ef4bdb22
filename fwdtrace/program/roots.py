"""Which modules of a running program are roots, at the top of what holds them, and how often each was called."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable

from torch import nn

from fwdtrace.program.wanted import MOST_ROOTS, Wanted
from fwdtrace.recorder.tree import first_parameter

MOST_WAYS = 50
NO_MODELS = ("torch.export", "torch._export", "torch.nn.utils.parametrize")
"""Where modules are from that torch calls by itself, to export a model or to build one; no model of the program's."""


class Root:
    """A module at the top, and how often it was called by each way in: the paths of the modules called from outside.

    `recorded` counts the calls and ops that are in the trace of each of its calls, by the number of the call.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = weakref.ref(module)
        self.kept_as: int | None = None
        self.calls: Counter[tuple[str, str]] = Counter()
        self.recorded: Counter[int] = Counter()
        self.settled = False


class Roots:
    """The roots of a program, and which of their calls are wanted. One thread uses it at a time.

    `settled` is called when the last wanted call of a root is over, or when a root turns out to be no model.
    """

    def __init__(self, wanted: Wanted, settled: Callable[[], None]) -> None:
        self.holders = Holders()
        self._wanted = wanted
        self._settled = settled
        self._roots: dict[int, Root] = {}
        self._without_parameters: set[type] = set()
        self._kept = 0

    @property
    def is_full(self) -> bool:
        """Whether so many roots have been kept that others are let run as they would."""
        return self._kept == MOST_ROOTS

    def root_and_way(self, module: nn.Module) -> tuple[Root, str] | None:
        """The root that a module belongs to, and the module's path in it; None if none of its calls is wanted."""
        top, way = self._top(module)
        if is_torchs_own(module) or is_torchs_own(top):
            return None
        if self._wanted.model is not None:
            if not self._is_named(module, way):
                return None
            top, way = module, ""
        root = self._root(top)
        if first_parameter(top) is None:
            if not top._modules:
                self._without_parameters.add(type(top))
            self._settle(root)
        return root, way

    def count(self, root: Root, way: tuple[str, str]) -> tuple[bool, int]:
        """Count a call of the root; whether it is to be recorded, and its number among those by this way."""
        if way not in root.calls and len(root.calls) == MOST_WAYS:
            return False, 0
        root.calls[way] += 1
        number = root.calls[way]
        if self._wanted.is_last(number - 1):
            self._settle(root)
        left_out = root.kept_as is None and self.is_full
        return not root.settled and not left_out and self._wanted.keeps(number), number

    def number_of_kept(self, root: Root) -> int:
        """The number of a root of which a call is kept: counted from 0 in order of the first kept call."""
        if root.kept_as is None:
            root.kept_as = self._kept
            self._kept += 1
        return root.kept_as

    def classes_to_watch(self) -> list[type[nn.Module]]:
        """The classes of the modules by which a wanted call may come."""
        some_settled = any(root.settled for root in self._roots.values())
        return [type(module) for module in self.holders.alive() if self._may_be_wanted(module, some_settled)]

    def has_parameters(self, cls: type[nn.Module]) -> bool:
        """False if the class is known for modules without parameters and without submodules."""
        return cls not in self._without_parameters

    def _may_be_wanted(self, module: nn.Module, some_settled: bool) -> bool:
        top, way = self._top(module)
        root = self._roots.get(id(module if self._wanted.model is not None else top))
        if self.is_full and (root is None or root.kept_as is None):
            return False
        if root is not None:
            return not root.settled
        if self._wanted.model is not None:
            return self._is_named(module, way)
        return not (some_settled and way)  # a copy for later, say, must not slow down all that is of its classes

    def _settle(self, root: Root) -> None:
        if not root.settled:
            root.settled = True
            self._settled()

    def _root(self, module: nn.Module) -> Root:
        known = self._roots.get(id(module))
        if known is None or known.module() is not module:
            known = self._roots[id(module)] = Root(module)
        return known

    def _top(self, module: nn.Module) -> tuple[nn.Module, str]:
        return self.holders.top(module, look=not self.is_full)

    def _is_named(self, module: nn.Module, path: str) -> bool:
        cls = type(module)
        return self._wanted.model in (path or None, cls.__name__, f"{cls.__module__}.{cls.__qualname__}")


def is_torchs_own(module: nn.Module) -> bool:
    """Whether torch made this module for itself, and calls it by itself."""
    return type(module).__module__.startswith(NO_MODELS)


class Holders:
    """The modules that were made, and which of them holds which; none is kept alive. One thread uses it at a time."""

    def __init__(self) -> None:
        self._made: dict[int, weakref.ref[nn.Module]] = {}
        self._holders: dict[int, tuple[weakref.ref[nn.Module], str]] = {}
        self._unplaced: set[int] = set()

    def made(self, module: nn.Module) -> None:
        """A module was constructed, copied or unpickled; a copy has its submodules already."""
        key = id(module)
        self._made[key] = weakref.ref(module, lambda _: self._forget(key))
        self._unplaced.add(key)
        self._look_into(module)

    def placed(self, holder: nn.Module, name: str, submodule: nn.Module) -> None:
        """A module gets another as its submodule; of several that hold one, the first counts as long as it does."""
        if self._holder(submodule) is None:
            self._holders[id(submodule)] = weakref.ref(holder), name

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
