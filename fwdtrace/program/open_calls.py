"""The calls of a watched program that are being recorded: one that runs, and those whose backward is awaited.

All of it is done under the lock of the watch that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from fwdtrace.program.late import open_for
from fwdtrace.program.optimizers import changes
from fwdtrace.program.roots import Root, Roots, mode_of
from fwdtrace.program.wanted import TRAINING, Round
from fwdtrace.trace import Trace

if TYPE_CHECKING:
    from fwdtrace.program.kept import KeptCall, Open
    from fwdtrace.recorder.recorded import Options


class OpenCalls:
    """The recordings that are open; when one ends, `keep` or `keep_event` is given what was recorded."""

    def __init__(
        self,
        roots: Roots,
        options: Options,
        keep: Callable[[KeptCall], bool],
        keep_event: Callable[[Trace], bool],
        max_bytes: int | None,
    ) -> None:
        self._roots, self._options, self._max_bytes = roots, options, max_bytes
        self._keep, self._keep_event = keep, keep_event
        self._running: Open | None = None
        self._awaiting: dict[Root, Open] = {}
        self.remembered = 0
        """How many calls of a root are remembered for an event that may follow."""

    @property
    def one_runs(self) -> bool:
        """Whether a call that is being recorded runs."""
        return self._running is not None

    @property
    def one_awaits_backward(self) -> bool:
        """Whether a call has ended whose recording takes in its backward."""
        return bool(self._awaiting)

    def may_begin(self, root: Root) -> bool:
        """Whether a call of this root may be recorded now."""
        return self._running is None and root not in self._awaiting

    def begin(
        self,
        root: Root,
        top: nn.Module,
        way: tuple[str, str],
        module: nn.Module,
        round: Round,
        count: int,
        event: str | None,
    ) -> Open:
        """Make the recording for a call of a module, which came by this way into its root."""
        if event is None:
            self._roots.number_of_kept(root)
        options = replace(self._options, gradients=self._options.gradients and mode_of(module) == TRAINING)
        self._running = open_for(root, top, round, way, count, options, self._max_bytes, event)
        return self._running

    def is_over(self, opened: Open, error: BaseException | None, hook_again: Callable[[], None]) -> bool:
        """The call that ran has come to its end; whether the program is to be ended."""
        self._running = None
        if error is not None or not opened.awaits_backward:
            opened.recording.end(error, hook_again)
            return self._hand_over(opened)
        self._awaiting[opened.root] = opened
        hook_again()
        return False

    def called_again(self, root: Root, path: str, entry: str) -> bool:
        """End the recording that awaits a backward if this is a call like it; whether the program is to be ended."""
        opened = self._awaiting.get(root)
        return opened is not None and opened.way == (path, entry) and self._end(opened)

    def end_before_step(self, optimizer: Any) -> bool:
        """End the recordings of models that the optimizer is about to change; whether the program is to be ended."""
        changed = [each for each in self._awaiting.values() if changes(optimizer, each.root.module())]
        wishes_end = [self._end(opened, optimizer=optimizer) for opened in changed]
        return any(wishes_end)

    def end_awaiting(self, error: BaseException | None) -> None:
        """End the recordings that await a backward, which may have raised this."""
        for opened in list(self._awaiting.values()):
            self._end(opened, error)

    def forget_awaiting(self) -> None:
        """End them, and keep nothing."""
        for opened in self._awaiting.values():
            opened.recording.__exit__(None, None, None)
        self._awaiting.clear()

    def keep_as_far_as_they_are(self) -> None:
        """Keep what has been recorded so far."""
        for opened in filter(None, [*self._awaiting.values(), self._running]):
            self._hand_over(opened)

    def _end(self, opened: Open, error: BaseException | None = None, *, optimizer: Any = None) -> bool:
        """End a recording whose backward has run, raised, or will not run; whether the program is to be ended."""
        del self._awaiting[opened.root]
        opened.end_backward(error)
        return self._hand_over(opened, optimizer)

    def _hand_over(self, opened: Open, optimizer: Any = None) -> bool:
        """Give the trace of a call to whoever keeps it, before a step of `optimizer` if one is about to be made."""
        root, trace = opened.root, opened.trace(optimizer)
        if opened.event is not None:
            return self._keep_event(trace)
        root.remember(opened.number, trace, self.remembered)
        if root.kept_as is None and self._roots.is_full:
            return False  # other threads have had theirs recorded meanwhile
        self._roots.recorded(root, opened.way, opened.round, opened.number, trace)
        return self._keep(opened.kept(self._roots.number_of_kept(root), trace))
