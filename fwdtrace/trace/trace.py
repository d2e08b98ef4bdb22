"""Trace: all that one recording saw, as a frozen value that answers questions about its calls and writes itself.

A saved trace has the format `fwdtrace.trace/1`, the first one, since 0.1.0. `trace/schema/trace-1.json` is its JSON
Schema. Within a version a field may be added, and readers pass over fields that they do not know. Whatever takes a
field away or gives it another meaning is a new version. A document is written row by row, never held as a whole.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json import JSONEncoder
from operator import attrgetter
from os import PathLike
from typing import Any, TextIO, TypeVar

from fwdtrace.trace.backward import BackwardError, GradientFault
from fwdtrace.trace.files import replacing, write_text
from fwdtrace.trace.findings import Finding
from fwdtrace.trace.flow import Flow
from fwdtrace.trace.info import ModelInfo, RunInfo, Versions
from fwdtrace.trace.rows import row_of
from fwdtrace.trace.values import Call, Event, Gradient, Op, Uncalled
from fwdtrace.trace.views import Drawn, form_for, view

E = TypeVar("E", bound=Event)


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
    gradient_faults: tuple[GradientFault, ...] = ()
    backward_errors: tuple[BackwardError, ...] = ()

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
        return self._calls_by_name.get(path, ())

    def call(self, id: int) -> Call:
        """The call with this id; KeyError if there is none."""
        if not self.ops and 0 <= id < len(self.calls) and self.calls[id].id == id:  # mostly, and it takes no table
            return self.calls[id]
        return self._call_by_id[id]

    def caller(self, event: Event) -> Call | None:
        """The call that made this call or op; None if nothing recorded made it."""
        return None if event.parent is None else self.call(event.parent)

    def callers(self, event: Event) -> Iterator[Call]:
        """The calls around this call or op, the innermost first."""
        caller = self.caller(event)
        while caller is not None:
            yield caller
            caller = self.caller(caller)

    def children(self, parent: Call | None = None) -> tuple[Call, ...]:
        """The calls made directly by `parent`; with None, those that nothing recorded made."""
        return self._outermost if parent is None else self._calls_by_parent.get(parent.id, ())

    @property
    def has_raised(self) -> bool:
        """Whether one of the calls that nothing recorded made has raised."""
        return any(call.error is not None for call in self.children())

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

    def save(
        self,
        file: str | PathLike[str],
        *,
        width: int = 80,
        depth: int | None = None,
        fold: bool = True,
        columns: Sequence[str] = (),
        only: Sequence[str] = (),
    ) -> None:
        """Write the trace, whole or not at all, as the suffix says that `-o` of the commands takes; else as JSON.

        The options are those of the commands: how wide a text is, how deep a tree goes, whether equal blocks fold, the
        keys of the columns, and patterns for what to show. JSON, CSV, a page and a timeline hold all of the trace.
        OSError if the file cannot be written.
        """
        options = {"width": width, "depth": depth, "fold": fold, "columns": columns, "only": only}
        form = form_for(os.path.basename(os.fspath(file)), options)
        if form is not None:
            write_text(file, form(self).rstrip("\n") + "\n")
            return
        with replacing(file) as path, path.open("w", encoding="ascii", newline="\n") as stream:
            write_trace(self, stream)

    def tree(
        self,
        *,
        width: int | None = None,
        depth: int | None = None,
        fold: bool = True,
        columns: Sequence[str] = (),
        only: Sequence[str] = (),
    ) -> Drawn:
        """The tree, with the options of `save`, to print or to have as the last line of a cell in a notebook.

        Without `width` it is 80 cells wide where it is printed, and 120 in a notebook.
        """
        options = {"depth": depth, "fold": fold, "columns": columns, "only": only}
        return Drawn(self, options if width is None else {**options, "width": width})

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for every call and op, and the columns of a `.csv` file.

        What was not measured is missing there, and not 0. FwdtraceError if there is no pandas.
        """
        return view("frame")(self)

    def __str__(self) -> str:
        return view("tree")(self)

    def _repr_html_(self) -> str:
        """The tree for a notebook, in the colours of the terminal."""
        return view("notebook")(self)

    @cached_property
    def _outermost(self) -> tuple[Call, ...]:
        return tuple([call for call in self.calls if call.parent is None])

    @cached_property
    def _call_by_id(self) -> dict[int, Call]:
        return {call.id: call for call in self.calls}

    @cached_property
    def _calls_by_name(self) -> Mapping[str | None, tuple[Call, ...]]:
        calls: dict[str | None, list[Call]] = defaultdict(list)
        for call in self.calls:
            for name in dict.fromkeys((call.path, *call.aliases)) if call.aliases else (call.path,):
                calls[name].append(call)
        return {name: tuple(each) for name, each in calls.items()}

    @cached_property
    def _calls_by_parent(self) -> Mapping[int | None, tuple[Call, ...]]:
        return _by_parent(self.calls)

    @cached_property
    def _events_by_parent(self) -> Mapping[int | None, tuple[Event, ...]]:
        if not self.ops:
            return self._calls_by_parent
        return _by_parent(self.events)

    @cached_property
    def _last_below(self) -> dict[int, int]:
        """For each call that made something, the id of the last event below it."""
        last: dict[int, int] = {}
        for event in reversed(self.events):  # what is below a call began after it, so its end is known already
            if event.parent is not None:
                last[event.parent] = max(last.get(event.parent, -1), last.get(event.id, event.id))
        return last


FORMAT = "fwdtrace.trace/1"

HEADS = {"versions": Versions, "model": ModelInfo, "run": RunInfo}
"""The keys of a document that hold one value each."""

ROWS = {
    **{"calls": Call, "ops": Op, "findings": Finding, "uncalled": Uncalled, "gradients": Gradient},
    **{"gradient_faults": GradientFault, "backward_errors": BackwardError},
}
"""The keys of a document that hold a list of rows each."""

MAY_LACK = {"ops": None, "uncalled": (), "gradients": None, "gradient_faults": (), "backward_errors": ()}
"""The keys that are left out where they hold this."""


def write_trace(trace: Trace, stream: TextIO) -> None:
    """Write the trace as one JSON document in ASCII, one call, op or finding a line.

    A time that is not finite has no place in JSON: ValueError.
    """
    encode = JSONEncoder(allow_nan=False).encode
    stream.write(f'{{"format": {encode(FORMAT)}')
    for key in HEADS:
        stream.write(f',\n "{key}": {encode(row_of(getattr(trace, key)))}')
    for key in ROWS:
        rows = getattr(trace, key)
        if key in MAY_LACK and rows == MAY_LACK[key]:
            continue
        stream.write(f',\n "{key}": [')
        for number, row in enumerate(rows):
            stream.write(f"{',' if number else ''}\n  {encode(row_of(row))}")
        stream.write("]")
    stream.write("}\n")


def _by_parent(events: Iterable[E]) -> dict[int | None, tuple[E, ...]]:
    """What each call made directly, in order."""
    made: dict[int | None, list[E]] = defaultdict(list)
    for event in events:
        made[event.parent].append(event)
    return {parent: tuple(each) for parent, each in made.items()}
