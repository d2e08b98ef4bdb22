"""Which modules of a running program are roots, at the top of what holds them, and how often each was called."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import is_grad_enabled, nn
from torch.optim.swa_utils import AveragedModel

from fwdtrace.program.holders import Holders
from fwdtrace.program.moment import Changing
from fwdtrace.program.skipped import SkippedSteps
from fwdtrace.program.slow import UsualTime
from fwdtrace.program.wanted import EVALUATION, MOST_ROOTS, TRAINING, WITHOUT_GRADIENTS, Round, Wanted
from fwdtrace.recorder.torch_internals import graph_task
from fwdtrace.recorder.tree import first_parameter
from fwdtrace.trace import Trace
from fwdtrace.trace.called import MODES, Called, Origin
from fwdtrace.trace.info import EarlierCall, StepOutput
from fwdtrace.trace.magnitudes import largest_magnitudes

MOST_WAYS = 50
MOST_NAMES = 1000
MOST_NUMBERS = 64
"""Single numbers that the calls of a root gave between two steps."""
MOST_REPEATS = 3
"""So many recorded calls of a root that raised, and were caught, are followed by the recording of the next one."""
QUIET = 20
"""After so many calls of a root with nothing new about them, only the ways in that are known are watched."""
NO_MODELS = ("torch.export", "torch._export", "torch.nn.utils.parametrize")
"""Where modules are from that torch calls by itself, to export a model or to build one; no model of the program's."""
BOTH = ("__call__", "forward")
WRAPPED = ("_orig_mod", "module")
"""As what a compiled model, DistributedDataParallel and the like hold the module that they wrap."""


class Way:
    """A way into a root: a module that is called from outside, its path there, how it is entered; its calls by mode.

    `passes` says for each mode whether its next call is of no interest but for the counting.
    """

    __slots__ = ("calls", "entry", "module", "passes", "path")

    def __init__(self, module: nn.Module, path: str, entry: str, gone: Callable[[Any], Any]) -> None:
        self.module = weakref.ref(module, gone)
        self.path = path
        self.entry = entry
        self.calls = [0] * len(MODES)
        self.passes = [False] * len(MODES)


class Root:
    """A module at the top, and the ways in by which it was called.

    `quiet` counts the calls since there was something new. When that is enough, the root is `settled`. `counted` says
    whether its calls have been counted to the end. `rounds` has, for each round of which calls were kept, the number of
    the first, and how many calls and ops were recorded in it. `raised` has the ways in by which the recorded call
    raised, and whether that was in training; `repeats` says how often that came up. `numbers` has the single numbers
    that its calls have returned since the latest step, and `earlier` how large the numbers were in the last calls that
    were recorded. `gives_infinity` says whether it is known to give infinities that are meant. `groups` has the names
    of the process groups that its calls need.

    `step` is for a root that settled before it was called in training: a step of an optimizer of its parameters is
    awaited, and shows that it does train, by a way that is not known; it is open again up to the next one.
    """

    def __init__(self, module: nn.Module, path: str, origin: Origin | None) -> None:
        cls = type(module)
        self.origin: Origin | None = "an average" if cls is AveragedModel else origin
        self.module = weakref.ref(module)
        self.class_name = f"{cls.__module__}.{cls.__qualname__}"
        self.path = path
        self.wraps = next((type(module._modules[name]).__name__ for name in WRAPPED if name in module._modules), None)
        self.name: str | None = None
        self.kept_as: int | None = None
        self.ways: dict[tuple[str | None, str], Way] = {}
        self.rounds: dict[Round, tuple[int, int]] = {}
        self.raised: set[tuple[tuple[str, str], bool]] = set()
        self.repeats = 0
        self.quiet = 0
        self.settled = False
        self.counted = True
        self.changing = Changing()
        self.usual = UsualTime()
        self.numbers: deque[StepOutput] = deque(maxlen=MOST_NUMBERS)
        self.skipped = SkippedSteps()
        self.gives_infinity = False
        self.earlier: tuple[EarlierCall, ...] = ()
        self.groups: set[str] = set()
        self.in_backward = 0
        self.step: Literal["awaited", "open", "over"] | None = None

    def named(self, trace: Trace) -> Trace:
        """The trace of a call, with the variable and the path by which the root is known."""
        return replace(trace, model=replace(trace.model, name=self.name, path=self.path or None))

    def remember(self, call: int, trace: Trace, most: int) -> None:
        """Remember of a call that was recorded how large its numbers were; of so many calls at most."""
        largest = largest_magnitudes(trace)
        if largest and most:
            self.earlier = (*self.earlier, EarlierCall(call, largest))[-most:]

    def has_gradients(self) -> bool:
        """Whether some parameter has a gradient, which the step of an optimizer may be about to use."""
        model = self.module()
        return model is not None and any(each.is_leaf and each.grad is not None for each in model.parameters())

    def called(self) -> Called:
        """How often it was called so far."""
        ways = {key: dict(zip(MODES, way.calls, strict=True)) for key, way in self.ways.items()}
        counted = self.counted and self.step not in ("open", "over")
        origin, again = self.origin, self.in_backward
        return Called(self.class_name, self.name, self.path or None, self.wraps, ways, counted, origin, again)


class Roots:
    """The roots of a program, and which of their calls are wanted. One thread uses it at a time.

    `settled` is called when only the known ways into a root are watched from then on, or when a root turns out to be no
    model. `known` has these ways by the id of their module, for those that are entered by `__call__`.
    """

    def __init__(self, wanted: Wanted, settled: Callable[[], None]) -> None:
        self.holders = Holders()
        self.known: dict[int, Way] = {}
        self.kept: list[Root] = []
        self._wanted = wanted
        self._settled = settled
        self._roots: dict[int, Root] = {}
        self._without_parameters: set[type] = set()
        self._names: dict[str, None] = {}

    @property
    def is_full(self) -> bool:
        """Whether so many roots have been kept that others are let run as they would."""
        return len(self.kept) >= MOST_ROOTS

    @property
    def is_complete(self) -> bool:
        """Whether no further root will be kept, and no further way into one."""
        return self.is_full and all(root.settled or root.module() is None for root in self.kept)

    def root_and_path(self, module: nn.Module) -> tuple[Root, str] | None:
        """The root that a module belongs to, and the module's path in it; None if none of its calls is wanted."""
        top, path = self._top(module)
        if is_torchs_own(module) or is_torchs_own(top):
            return None
        outer = ""
        if self._wanted.model is not None:
            if not self._is_named(module, path):
                self._note(module, path)
                return None
            top, path, outer = module, "", path
        root = self._root(top, outer)
        if self._wanted.model is None and not self._wanted.looks and first_parameter(top) is None:
            if not top._modules:
                self._without_parameters.add(type(top))
            self._note(module, path)
            self._settle(root, counted=False)
        return root, path

    def count(self, root: Root, path: str, module: nn.Module, entry: str) -> tuple[Round | None, int]:
        """Count a call of the root: the round that it is to be kept in, if it is, and its number by this way."""
        key = path, entry
        way = root.ways.get(key)
        if way is None:
            if root.settled or len(root.ways) == MOST_WAYS:
                return None, 0
            way_id = id(module)
            way = root.ways[key] = Way(module, path, entry, lambda _: self.known.pop(way_id, None))
            root.quiet = 0
        mode = mode_of(module)
        way.calls[mode] += 1
        if root.kept_as is None and self.is_full:
            self._let_pass(way, [True] * len(MODES))
            return None, 0
        round = self._wanted.round(mode, way.calls)
        if round is None and (key, mode == TRAINING) in root.raised:
            round = ("training" if mode == TRAINING else "other"), 1
        root.quiet = 0 if round else root.quiet + 1
        way.passes = [not self._wanted.may_keep(mode, way.calls) for mode in range(len(MODES))]
        if root.quiet >= QUIET and root.step != "open":
            self._settle(root)
        return round, sum(way.calls)

    def recorded(self, root: Root, way: tuple[str, str], round: Round, number: int, trace: Trace) -> None:
        """Note that a call by this way was recorded. If it raised, the next one like it is to be recorded instead."""
        key = way, round[0] == "training"
        raised = trace.has_raised
        root.raised.discard(key)
        if raised and not self._wanted.by_number and root.repeats < MOST_REPEATS:
            root.repeats += 1
            root.raised.add(key)
            if round not in root.rounds:
                return
        _, first_id = root.rounds.get(round, (number, 0))
        root.rounds[round] = number, first_id + len(trace.events)

    def count_in_backward(self, module: nn.Module, entry: str) -> None:
        """Count a call of a root if it is backward that makes it."""
        root = self._roots.get(id(module)) if entry == "__call__" and graph_task() != -1 else None
        if root is not None and root.module() is module:
            root.in_backward += 1

    def count_elsewhere(self, module: nn.Module, entry: str) -> None:
        """Count a call by a way that is known, which came while nothing was hooked."""
        for way in [way for root in self._roots.values() for way in root.ways.values()]:
            if way.entry == entry and way.module() is module:
                way.calls[mode_of(module)] += 1

    def look_no_more(self) -> None:
        """Look only at the calls that may be kept for their number or mode."""
        self._wanted = replace(self._wanted, looks=False)

    def awaiting_a_step(self) -> list[Root]:
        """The roots that may turn out to train when an optimizer steps."""
        return [root for root in self._roots.values() if root.step in ("awaited", "open")]

    def stepped(self, root: Root) -> None:
        """An optimizer steps that has parameters of a root for which a step is awaited."""
        if root.step == "open":
            root.step = "over"
            self._settle(root)
        else:
            root.step = "open"
            root.settled = False
            root.quiet = 0
            self._settled()

    def latest_call(self, module: nn.Module) -> tuple[nn.Module, str | None, int | None]:
        """The root that holds a module, its variable, and the number of the latest call by the module, if counted."""
        top, path = self.holders.top(module, look=True)
        root = self._roots.get(id(top))
        if root is None or root.module() is not top:
            return top, None, None
        way = root.ways.get((path, "__call__"))
        return top, root.name, sum(way.calls) if way is not None and root.counted else None

    def number_of_kept(self, root: Root) -> int:
        """The number of a root of which a call is kept: counted from 0 in order of the first kept call."""
        if root.kept_as is None:
            root.kept_as = len(self.kept)
            self.kept.append(root)
        return root.kept_as

    def entries_to_watch(self) -> dict[type[nn.Module], set[str]]:
        """The classes of the modules by which a call may come that is wanted or counted, and how it may enter them."""
        entries: dict[type[nn.Module], set[str]] = {}
        some_settled = any(root.settled for root in self._roots.values())
        for module in self.holders.alive():
            if self._may_be_wanted(module, some_settled):
                entries.setdefault(type(module), set()).update(BOTH)
        for root in self._roots.values():
            left_out = self.is_full and root.kept_as is None
            for way in root.ways.values() if root.settled and root.counted and not left_out else ():
                module_called = way.module()
                if module_called is not None:
                    entries.setdefault(type(module_called), set()).add(way.entry)
        return entries

    def not_kept(self) -> list[Called]:
        """The roots of which no call was kept, though they may be models."""
        return [root.called() for root in self._roots.values() if root.kept_as is None and root.counted and root.ways]

    def names(self) -> list[str]:
        """The classes and paths of modules that were called and are not of a root that is wanted."""
        return list(self._names)

    def _note(self, module: nn.Module, path: str) -> None:
        if len(self._names) < MOST_NAMES:
            self._names.update(dict.fromkeys([type(module).__name__, *([path] if path else [])]))

    def has_parameters(self, cls: type[nn.Module]) -> bool:
        """False if the class is known for modules without parameters and without submodules."""
        return cls not in self._without_parameters

    def _may_be_wanted(self, module: nn.Module, some_settled: bool) -> bool:
        top, path = self._top(module)
        root = self._roots.get(id(module if self._wanted.model is not None else top))
        if self.is_full and (root is None or root.kept_as is None):
            return False
        if root is not None:
            return not root.settled
        if self._wanted.model is not None:
            return self._is_named(module, path)
        return not (some_settled and path)  # a copy for later, say, must not slow down all that is of its classes

    def _settle(self, root: Root, counted: bool = True) -> None:
        if root.settled:
            return
        root.settled = True
        root.counted = counted and not self._is_costly(root)
        for way in root.ways.values() if root.counted else ():
            self._let_pass(way, way.passes)
        trained = any(way.calls[TRAINING] for way in root.ways.values())
        if counted and not trained and root.step is None and not self._wanted.by_number:
            root.step = "awaited"
        self._settled()

    def _let_pass(self, way: Way, passes: list[bool]) -> None:
        way.passes = passes
        module = way.module()
        if module is not None and way.entry == "__call__":
            self.known[id(module)] = way

    def _is_costly(self, root: Root) -> bool:
        """Whether to count the calls of a root would slow down other modules, layers of its class in larger ones."""
        if self._wanted.looks:
            return False
        if self._wanted.by_number and not all(way.passes[TRAINING] for way in root.ways.values()):
            return False
        called = [module for way in root.ways.values() if (module := way.module()) is not None]
        leaves = {type(module) for module in called if not module._modules}
        return any(type(module) in leaves and self._top(module)[1] for module in self.holders.alive())

    def _root(self, module: nn.Module, path: str) -> Root:
        known = self._roots.get(id(module))
        if known is None or known.module() is not module:
            known = self._roots[id(module)] = Root(module, path, self.holders.origin(module))
        return known

    def _top(self, module: nn.Module) -> tuple[nn.Module, str]:
        return self.holders.top(module, look=not self.is_full)

    def _is_named(self, module: nn.Module, path: str) -> bool:
        cls = type(module)
        names = path or None, cls.__name__, f"{cls.__module__}.{cls.__qualname__}"
        return any(name is not None and fnmatchcase(name, self._wanted.model or "") for name in names)


def mode_of(module: nn.Module) -> int:
    """The mode in which a call of the module is now, by its place in `MODES`."""
    if not module.__dict__.get("training", True):  # not by a property of the user's
        return EVALUATION
    return TRAINING if is_grad_enabled() else WITHOUT_GRADIENTS


def is_torchs_own(module: nn.Module) -> bool:
    """Whether torch made this module for itself, and calls it by itself."""
    cls = type(module)
    if cls.__name__.startswith("Parametrized"):
        cls = cls.__bases__[0]  # torch makes such a class for a module of the program's that gets a parametrization
    return cls.__module__.startswith(NO_MODELS)
