"""The traces of a program's models: joined call by call, named, saved as soon as there is something new."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fwdtrace.findings import find
from fwdtrace.trace import Call, Op, Trace

Key = tuple[int, int]
"""Which root, from 0, and which of its calls, from 1."""


@dataclass
class ProgramTraces:
    """All traces so far by key; with a file, each is written whenever it has grown. `save` says whether it could be.

    The first goes into `file`; for others the class of the root, and the number of the call if it is not the first
    kept of its root, come before the suffix: `train.json`, `train.call2.json`, `train.Critic.json`. `saved` are the
    files that hold all of their trace.
    """

    file: Path | None
    save: Callable[[Trace, Path], bool]
    by_key: dict[Key, Trace] = field(default_factory=dict)
    files: dict[Key, Path] = field(default_factory=dict)
    saved: dict[Key, Path] = field(default_factory=dict)

    def add(self, root: int, class_name: str, number: int, trace: Trace) -> None:
        """Keep what was recorded of one call; what came in by another way in the same round is joined to it."""
        key = root, number
        before = self.by_key.get(key)
        trace = told_apart(trace if before is None else joined(before, trace))
        self.by_key[key] = trace
        if self.file is not None:
            if key not in self.files:
                self.files[key] = self._file_for(key, class_name.rpartition(".")[2])
            self.saved.pop(key, None)
            if self.save(trace, self.files[key]):
                self.saved[key] = self.files[key]

    def _file_for(self, key: Key, class_name: str) -> Path:
        assert self.file is not None
        root, number = key
        parts = []
        if root:
            parts.append(re.sub(r"\W+", "_", class_name))
        if any(other == root for other, _ in self.files):
            parts.append(f"call{number}")
        taken = set(self.files.values())
        file = with_parts(self.file, *parts)
        if file in taken:  # two roots of one class
            file = with_parts(self.file, parts[0], str(root + 1), *parts[1:])
        return file


def with_parts(file: Path, *parts: str) -> Path:
    """The file with more parts in its name, before the suffix."""
    suffix = ".trace.json" if file.name.endswith(".trace.json") else file.suffix
    return file.with_name(".".join((file.name.removesuffix(suffix), *parts)) + suffix)


def joined(first: Trace, second: Trace) -> Trace:
    """One trace of two recordings of the same root, the second after the first."""
    start = len(first.calls) + len(first.ops or ())
    counts = Counter(call.path for call in first.calls)

    def later(row: Call | Op) -> dict[str, int | None]:
        return {"id": row.id + start, "parent": None if row.parent is None else row.parent + start}

    calls = [replace(call, **later(call), nth=call.nth + counts[call.path]) for call in second.calls]  # type: ignore[arg-type]
    ops = None
    if first.ops is not None and second.ops is not None:
        ops = (*first.ops, *(replace(op, **later(op)) for op in second.ops))  # type: ignore[arg-type]
    still = {each.path for each in second.uncalled}
    return replace(
        first,
        run=replace(first.run, duration_us=first.run.duration_us + second.run.duration_us),
        calls=(*first.calls, *calls),
        ops=ops,
        uncalled=tuple(each for each in first.uncalled if each.path in still),
    )


def told_apart(trace: Trace) -> Trace:
    """The trace with its findings; if the root itself did not run, nobody expects all of it to have run."""
    if not trace.at(""):
        trace = replace(trace, uncalled=())
    return replace(trace, findings=find(trace))
