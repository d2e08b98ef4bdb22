"""Trace: all that one recording saw, as a frozen value that answers questions about its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from os import PathLike

from fwdtrace.trace.values import Call, Finding, Gradient, ModelInfo, Op, RunInfo, Uncalled, Versions


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

    def at(self, path: str | None) -> tuple[Call, ...]:
        """The calls of the module with this qualified name, or alias, in order."""
        return tuple(call for call in self.calls if call.path == path or path in call.aliases)

    def call(self, id: int) -> Call:
        """The call with this id; KeyError if there is none."""
        return self._by_id[id]

    def children(self, parent: Call | None = None) -> tuple[Call, ...]:
        """The calls made directly by `parent`; with None, those that nothing recorded made."""
        return tuple(self._by_parent.get(parent.id if parent else None, ()))

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
    def _by_id(self) -> dict[int, Call]:
        return {call.id: call for call in self.calls}

    @cached_property
    def _by_parent(self) -> dict[int | None, list[Call]]:
        by_parent: dict[int | None, list[Call]] = defaultdict(list)
        for call in self.calls:
            by_parent[call.parent].append(call)
        return by_parent
