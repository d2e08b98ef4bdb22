"""All state of what is being recorded, in one object that lives while at least one recording runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any, Protocol

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils.hooks import RemovableHandle

from fwdtrace.recorder.alike import Alike
from fwdtrace.recorder.leaves import LeafTable
from fwdtrace.recorder.notes import Leaves, OpenCall, OpenCalls, OpenOp, SeenClass, SeenModule
from fwdtrace.recorder.recorded import Recorded
from fwdtrace.trace import Entry


class Measure(Protocol):
    """Something that is measured while calls run; it is made when a recording first asks for it.

    Recordings that run at the same time share a measure, and the last one that asked for it stops it. A measure keeps
    what it finds in tables of its own, by call, and finishing reads them.
    """

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """A call or an op is about to run with these arguments."""

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """The call or op has returned this output; the measure whose `begins` was called last is called first.

        A call that raised is not reported, except to the ops measure.
        """

    def stop(self) -> None:
        """Measure no more; what was measured can still be read."""


class DescribesCalls(Protocol):
    """Describes what a call is given and gives, and notes where the tensors came from."""

    def inputs(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any], like: Alike | None) -> Leaves:
        """The leaves of what a call is given; `like` is what the only argument is like, if that is known."""

    def outputs(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what it gave."""

    def inputs_of_forward(self, call: OpenCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves:
        """The leaves of what a call's `forward` is given behind its pre-hooks."""

    def outputs_of_forward(self, call: OpenCall, output: Any) -> Leaves:
        """The leaves of what a call's `forward` gives to its forward hooks."""


class OpsMeasure(Protocol):
    """The measure of ops, which the session holds apart from the others.

    Its `begins` comes before the inputs of a call are described, for describing is slow while it listens to torch; its
    `ends` comes also after a call that raised, because it must undo what `begins` did. `calls` describes the calls.
    """

    @property
    def calls(self) -> DescribesCalls:
        """What describes the calls while ops are noted."""

    def begins(self, stack: OpenCalls, call: OpenCall) -> str:
        """Turn the noting of ops on or off for this call, and say what had to be done, "" if nothing."""

    def ends(self, stack: OpenCalls, change: str) -> None:
        """Undo what `begins` did."""

    def stop(self) -> None:
        """As in any measure."""


Elsewhere = Callable[[Any, Entry], None]
"""Who hears of each call by a thread that no recording is of and that works for none; there, before it runs."""


class Threads(threading.local):
    """The open calls of this thread."""

    def __init__(self) -> None:
        self.stack = OpenCalls()


class Session:
    """What the recordings that run at the same time share.

    `seen` is by the id of the module; an entry goes when its module does, so that no id is taken for another's.
    `log` has all calls and ops since the session began, in order of beginning. `kinds` has the running measures by
    their class, which makes them; `measures` and `ops` are the same ones again, as the boundaries need them.
    `straight` says whether nobody stood between us and torch's own `__call__` when the session began.
    `elsewhere` hears also of a call that began before the last recording ended, and gets to us when it has.
    `forwards` has the functions that are observed by their ids, each with what ends that; `stand_ins` and `removals`
    say what else is in place and how to take it out.
    """

    __slots__ = (
        *("classes", "elsewhere", "forwards", "kinds", "leaves", "log", "measures", "ops", "recordings", "removals"),
        *("seen", "stand_ins", "straight", "threads"),
    )

    def __init__(self) -> None:
        self.recordings: list[Recorded] = []
        self.seen: dict[int, SeenModule] = {}
        self.log: list[OpenCall | OpenOp] = []
        self.threads = Threads()
        self.elsewhere: tuple[Elsewhere, ...] = ()
        self.leaves = LeafTable()
        self.kinds: dict[Callable[[Session], Measure | OpsMeasure], Measure | OpsMeasure] = {}
        self.measures: tuple[Measure, ...] = ()
        self.ops: OpsMeasure | None = None
        self.straight = True
        self.classes: dict[type, SeenClass] = {}
        self.forwards: dict[int, tuple[FunctionType, Callable[[], None]]] = {}
        self.stand_ins: list[tuple[Any, Any, Any]] = []
        self.removals: list[Callable[[], None]] = []


class Running:
    """The one place that holds the session; None while nothing is recorded.

    What we leave in other people's hands, a bound `forward` say, refers to this and not to a session, so that nothing
    that was recorded lives on with it.
    """

    __slots__ = ("session",)

    def __init__(self) -> None:
        self.session: Session | None = None


running = Running()
changing = threading.RLock()
"""Held while a recording begins, ends or is finished, and while something is put in place for it, in any thread."""


def calls_so_far() -> int:
    """How many calls and ops have begun since recording began, for those who show progress."""
    session = running.session
    return len(session.log) if session is not None else 0


_tree_hooks: list[RemovableHandle] = []
"""The hook that reports changes of a model's tree, once for each who asked. It outlives sessions where a whole program
is watched: to add or remove a hook while another thread builds a model would disturb that thread."""


def listen_for_changes() -> Callable[[], None]:
    """Have recordings learn when the tree of a model changes, until all who asked have called what this returns."""
    hook = _tree_hooks[0] if _tree_hooks else register_module_module_registration_hook(_tree_changed)
    _tree_hooks.append(hook)
    return _stop_listening


def is_watched() -> bool:
    """Whether something is recorded, or a whole program is watched, so that a call of any model may be."""
    return bool(_tree_hooks)


def _stop_listening() -> None:
    hook = _tree_hooks.pop()
    if not _tree_hooks:
        hook.remove()


def _tree_changed(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
    session = running.session
    for recorded in session.recordings if session is not None else ():
        recorded.tree_changed = True
