"""Trace: all that one recording saw, as a frozen value that answers questions about its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from os import PathLike
from typing import TypeVar

from fwdtrace.trace.flow import Flow
from fwdtrace.trace.values import Call, Event, Finding, Gradient, ModelInfo, Op, RunInfo, Uncalled, Versions

E = TypeVar("E", Call, Event)


@dataclass(frozen=True)
class Trace:
    """All calls of one recording, in order of beginning; `ops` and `gradients` are None if they were not recorded."""

    versions: Versions
    model: ModelInfo
    run: RunInfo
    calls: tuple[Call, ...]
    ops: tuple[Op, ...] | None = None
    findings: tuple[Finding, ...] = ()
    uncalled: tuple[Uncalled, ...] = ()
    gradients: tuple[Gradient, ...] | None = None

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The calls and ops together, in order of beginning."""
        return tuple(sorted((*self.calls, *self.ops), key=attrgetter("id"))) if self.ops else self.calls

    @cached_property
    def innermost(self) -> tuple[Call, ...]:
        """The calls that made no other call, in order of beginning."""
        return tuple([call for call in self.calls if call.id not in self._calls_by_parent])

    @cached_property
    def flow(self) -> Flow:
        """Which call or op made which tensor, and what used it, as far as the tensors say where they came from."""
        return Flow(self.events)

    def at(self, path: str | None) -> tuple[Call, ...]:
        """The calls of the module with this qualified name, or alias, in order; None: outside the tree."""
        return tuple(call for call in self.calls if call.path == path or path in call.aliases)

    def call(self, id: int) -> Call:
        """The call with this id; KeyError if there is none."""
        return self._call_by_id[id]

    def caller(self, event: Event) -> Call | None:
        """The call that made this call or op; None if nothing recorded made it."""
        return None if event.parent is None else self._call_by_id[event.parent]

    def callers(self, event: Event) -> Iterator[Call]:
        """The calls around this call or op, the innermost first."""
        caller = self.caller(event)
        while caller is not None:
            yield caller
            caller = self.caller(caller)

    def children(self, parent: Call | None = None) -> tuple[Call, ...]:
        """The calls made directly by `parent`; with None, those that nothing recorded made."""
        return self._calls_by_parent.get(parent.id if parent else None, ())

    def made_by(self, parent: Event | None = None) -> tuple[Event, ...]:
        """The calls and ops made directly by `parent`, none by an op; with None, those that nothing recorded made."""
        return self._events_by_parent.get(parent.id if parent else None, ())

    def walk(self, parent: Call | None = None) -> Iterator[Call]:
        """Every call below `parent`, depth first."""
        stack = [iter(self.children(parent))]
        while stack:
            call = next(stack[-1], None)
            if call is None:
                stack.pop()
                continue
            yield call
            stack.append(iter(self.children(call)))

    def end(self, event: Event) -> int:
        """The id of the last call or op below this one, its own id if there is none: nothing below it begins later.

        Between `event.id` and its end lies all that is below it, and what other threads began in the meantime.
        """
        return self._last_below.get(event.id, event.id)

    def save(self, file: str | PathLike[str]) -> None:
        """Write the trace as JSON (format `fwdtrace.trace/1`); OSError if the file cannot be written."""
        from fwdtrace.trace.read import save_trace

        save_trace(self, file)

    def __str__(self) -> str:
        from fwdtrace.render.tree import tree_text

        return tree_text(self)

    def _repr_html_(self) -> str:
        """The tree for a notebook, in the colours of the terminal."""
        from fwdtrace.render.notebook import notebook_html

        return notebook_html(self)

    @cached_property
    def _call_by_id(self) -> dict[int, Call]:
        return {call.id: call for call in self.calls}

    @cached_property
    def _calls_by_parent(self) -> dict[int | None, tuple[Call, ...]]:
        return _by_parent(self.calls)

    @cached_property
    def _events_by_parent(self) -> dict[int | None, tuple[Event, ...]]:
        return _by_parent(self.events)

    @cached_property
    def _last_below(self) -> dict[int, int]:
        """For each call that made something, the id of the last event below it."""
        last: dict[int, int] = {}
        for event in reversed(self.events):  # what is below a call began after it, so its end is known already
            if event.parent is not None:
                last[event.parent] = max(last.get(event.parent, -1), last.get(event.id, event.id))
        return last


def _by_parent(events: Iterable[E]) -> dict[int | None, tuple[E, ...]]:
    lists: dict[int | None, list[E]] = defaultdict(list)
    for event in events:
        lists[event.parent].append(event)
    return {parent: tuple(made) for parent, made in lists.items()}
