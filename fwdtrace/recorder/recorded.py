"""What a recording was asked for, and what is known of it while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from fwdtrace.recorder.accelerators import TORCHS, Accelerators
from fwdtrace.recorder.notes import OpenCall, OpenOp, SeenModule

if TYPE_CHECKING:
    from fwdtrace.recorder.earlier import EarlierCalls


class NumbersKeeper(Protocol):
    """A measure of one recording alone, which learns at the end which id each call and op has in the trace."""

    def begins(self, call: OpenCall | OpenOp, args: Any, kwargs: Any) -> None:
        """As in any measure."""

    def ends(self, call: OpenCall | OpenOp, output: Any) -> None:
        """As in any measure."""

    def stop(self) -> None:
        """As in any measure."""

    def number(self, ids: Mapping[Any, int]) -> None:
        """The recording has ended, and these are the ids."""


@dataclass(frozen=True)
class Options:
    """What a recording was asked for beside the calls; with `alone`, no calls that other threads make by themselves.

    `keeper` keeps the numbers of every call. `peak_memory` resets the statistics of the allocators of accelerators.
    `accelerators` are those whose time and memory are measured. With `check_finite`, ops are noted inside the user's
    own modules that hold no others, too: one of them may be what makes NaN.
    """

    ops: bool = False
    check_finite: bool = False
    stats: bool = False
    costs: bool = False
    gradients: bool = False
    alone: bool = False
    keeper: NumbersKeeper | None = None
    peak_memory: bool = False
    accelerators: Accelerators = TORCHS


class Recorded:
    """One running recording: its model, the names in its tree, where its calls begin, the stack of its own thread.

    `call` is the number of its first call of the root, counted with those of `earlier`; `first_id` is what the ids of
    its trace begin with, where that is the later part of another.
    """

    __slots__ = ("call", "earlier", "first_id", "home", "names", "options", "root", "start", "tree_changed")

    def __init__(
        self,
        root: nn.Module,
        options: Options,
        start: int,
        home: list[OpenCall],
        earlier: EarlierCalls,
        call: int | None = None,
        first_id: int = 0,
    ) -> None:
        self.root = root
        self.first_id = first_id
        self.earlier = earlier
        self.call = earlier.number + 1 if call is None else call
        self.options = options
        self.start = start
        self.home = home
        self.names: dict[SeenModule, tuple[str, ...]] = {}
        self.tree_changed = False
