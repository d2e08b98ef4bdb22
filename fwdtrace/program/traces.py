"""The traces of a program's models: joined where they belong together, and saved as soon as there is one more call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fwdtrace.findings import find
from fwdtrace.trace import Call, Leaf, Op, TensorMeta, Trace

Key = tuple[int, int]
"""The number of the root, from 0, and the number of its call, from 1."""


@dataclass
class ProgramTraces:
    """All traces so far by key; if there is a file, `save` writes a trace whenever a call was added, if it can.

    The first trace goes into `file`. The names of other files have, before the suffix, the class of a further root, and
    the number of a further call of the same root: `train.json`, `train.call2.json`, `train.Critic.json`. `saved` are
    the files that hold all of their trace.
    """

    file: Path | None
    save: Callable[[Trace, Path], bool]
    by_key: dict[Key, Trace] = field(default_factory=dict)
    files: dict[Key, Path] = field(default_factory=dict)
    saved: dict[Key, Path] = field(default_factory=dict)

    def add(self, root: int, class_name: str, number: int, trace: Trace) -> None:
        """Add the trace of one call; the calls of a root that have the same number are joined into one trace.

        A root has several calls with one number when it is entered in several ways, as by `model(x)` and by a method.
        """
        key = root, number
        before = self.by_key.get(key)
        trace = with_findings(trace if before is None else joined(before, trace))
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


def split_suffix(file: Path) -> tuple[str, str]:
    """The name of a file and its suffix, of which `.trace.json` is one."""
    suffix = ".trace.json" if file.name.endswith(".trace.json") else file.suffix
    return file.name.removesuffix(suffix), suffix


def with_parts(file: Path, *parts: str) -> Path:
    """The file with more parts in its name, before the suffix."""
    name, suffix = split_suffix(file)
    return file.with_name(".".join((name, *parts)) + suffix)


def joined(first: Trace, second: Trace) -> Trace:
    """One trace of two recordings of the same root, the second after the first."""
    start = len(first.calls) + len(first.ops or ())
    counts = Counter(call.path for call in first.calls)

    def later(row: Call | Op) -> dict[str, Any]:
        names = ("inputs", "outputs", "forward_inputs", "forward_outputs")
        moved = {name: _later(leaves, start, second) for name in names if (leaves := getattr(row, name, None))}
        return {"id": row.id + start, "parent": None if row.parent is None else row.parent + start, **moved}

    calls = [replace(call, **later(call), nth=call.nth + counts[call.path]) for call in second.calls]
    ops = None
    if first.ops is not None and second.ops is not None:
        ops = (*first.ops, *(replace(op, **later(op)) for op in second.ops))
    uncalled = {module.path for module in second.uncalled}
    return replace(
        first,
        run=replace(first.run, duration_us=first.run.duration_us + second.run.duration_us),
        calls=(*first.calls, *calls),
        ops=ops,
        uncalled=tuple(module for module in first.uncalled if module.path in uncalled),
    )


def _later(leaves: tuple[Leaf, ...], start: int, second: Trace) -> tuple[Leaf, ...]:
    """The leaves with the ids in their sources counted on; what the first trace made is an earlier call no more."""
    return tuple([_tensor_later(leaf, start, second) if type(leaf) is TensorMeta else leaf for leaf in leaves])


def _tensor_later(leaf: TensorMeta, start: int, second: Trace) -> TensorMeta:
    source = leaf.source
    if source is not None and source.id is not None:
        if source.call is None:
            source = replace(source, id=source.id + start)
        elif source.call == second.run.call:
            source = replace(source, call=None)
    changed_by = None if leaf.changed_by is None else leaf.changed_by + start
    return replace(leaf, source=source, changed_by=changed_by)


def with_findings(trace: Trace) -> Trace:
    """The trace with its findings; modules that did not run are no finding if the root itself did not run either."""
    if not trace.at(""):
        trace = replace(trace, uncalled=())
    return replace(trace, findings=find(trace))
