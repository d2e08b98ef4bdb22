"""The traces of a program's models: joined where they belong together, and saved as soon as there is one more call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fwdtrace.findings import find
from fwdtrace.program.wanted import Round
from fwdtrace.trace import BetweenHooks, Call, Leaf, Op, TensorMeta, Trace

Key = tuple[int, Round]
"""The number of the root, from 0, and the round of its calls."""

EVENTS = -1
"""In the place of the number of a root: calls that were kept for what happened in them."""

Values = Any
"""What a `TrainingKeeper` has kept of a trace, its `values`."""


@dataclass
class ProgramTraces:
    """All traces so far by key; `save` writes a trace into each of the files whenever a call was added, if it can.

    The first trace goes into the files themselves. The names of others have, before the suffix, the class of a further
    root, and the number of a further call of the same root: `train.json`, `train.call2.json`, `train.Critic.json`.
    `saved` has the files that hold all of their trace. `save_values` writes the numbers of a trace into a file that is
    named like the others, and gives their digest, None if it cannot. With `events_alone`, the first trace is that of an
    event, and further ones are numbered.
    """

    files: Sequence[Path]
    save: Callable[[Trace, Path], bool]
    values_file: Path | None = None
    save_values: Callable[[Values, Path], str | None] = lambda values, file: None
    events_alone: bool = False
    by_key: dict[Key, Trace] = field(default_factory=dict)
    files_of: dict[Key, list[Path]] = field(default_factory=dict)
    saved: dict[Key, list[Path]] = field(default_factory=dict)
    values: dict[Key, Values] = field(default_factory=dict)

    def add(self, root: int, round: Round, trace: Trace, values: Values | None = None) -> None:
        """Add the trace of one call; the calls of a root that are in the same round are joined into one trace.

        A root has several calls in one round when it is entered in several ways, as by `model(x)` and by a method. One
        that raised gives way to the next.
        """
        key = root, round
        before = self.by_key.get(key)
        if before is not None and before.calls and all(call.error is not None for call in before.children()):
            before = None  # the program caught that, and this is the call to show
            self.values.pop(key, None)
        self.by_key[key] = with_findings(trace if before is None else joined(before, trace))
        if key not in self.files_of:
            self.files_of[key] = [self._file_for(file, key) for file in (*self.files, *self._values_files)]
        if values is not None:
            earlier = self.values.get(key)
            start = _size(before) if before is not None else 0
            self.values[key] = values if earlier is None else earlier.followed_by(values, start)
        self._save(key)

    def add_event(self, trace: Trace) -> None:
        """Add the trace of a call that nobody had chosen, under the name of what happened in it."""
        event = trace.run.event or ""
        number = 1 + sum(root == EVENTS and (self.events_alone or name == event) for root, (name, _) in self.by_key)
        key = EVENTS, (event, number)
        parts = [] if self.events_alone else [event]
        self.by_key[key] = trace
        self.files_of[key] = [with_parts(file, *parts, *([str(number)] if number > 1 else [])) for file in self.files]
        self._save(key)

    def files_of_trace(self, trace: Trace) -> list[Path]:
        """The files that hold this trace."""
        return next((self.saved[key] for key, each in self.by_key.items() if each is trace), [])

    def has(self, trace: Trace) -> bool:
        """Whether this trace was added."""
        return any(added is trace for added in self.by_key.values())

    def key_of(self, trace: Trace) -> Key:
        """The key of a trace that was added."""
        return next(key for key, added in self.by_key.items() if added is trace)

    def put(self, key: Key, trace: Trace) -> None:
        """Put a trace in the place of the one with this key."""
        self.by_key[key] = trace
        self._save(key)

    def end(self) -> None:
        """Settle what could not be known before: no call will follow.

        Of calls in two modes that ran the same modules and ops, the one in training stays. What ran in one of the
        rounds of a root did run.
        """
        for key, trace in list(self.by_key.items()):
            root, round = key
            training = root, ("training", 1)
            if round[0] == "other" and training in self.by_key and ran(trace) == ran(self.by_key[training]):
                self._replace(key, training)
        for key, trace in list(self.by_key.items()):
            others = [other for (root, _), other in self.by_key.items() if root == key[0] and other is not trace]
            never = {module.path for module in trace.uncalled}.intersection(
                *({module.path for module in other.uncalled} for other in others if other.at(""))
            )
            if len(never) < len(trace.uncalled):
                uncalled = tuple(module for module in trace.uncalled if module.path in never)
                self.by_key[key] = with_findings(replace(trace, uncalled=uncalled))
                self._save(key)

    def _replace(self, key: Key, by: Key) -> None:
        """Drop a trace in favour of another one of its root, which takes its files if it had them earlier."""
        del self.by_key[key]
        saved = self.saved.pop(key, [])
        if list(self.files_of).index(key) < list(self.files_of).index(by):
            for old, file in zip(self.files_of.pop(by), self.files_of[key], strict=True):
                if file in saved and old in self.saved.get(by, ()):
                    old.replace(file)
            self.files_of[by] = self.files_of.pop(key)
            self.saved[by] = [file for file in self.files_of[by] if file in saved]
            if self.values_file is not None:
                self._save(by)  # the traces name the file of values
        else:
            for file in saved:
                file.unlink(missing_ok=True)
            del self.files_of[key]

    @property
    def _values_files(self) -> list[Path]:
        return [self.values_file] if self.values_file is not None else []

    def _save(self, key: Key) -> None:
        files = self.files_of[key][: len(self.files)]
        saved = []
        for file in self.files_of[key][len(files) :]:
            digest = self.save_values(self.values[key], file) if key in self.values else None
            if digest is not None:
                saved.append(file)
                run = replace(self.by_key[key].run, values=file.name, values_digest=digest)
                self.by_key[key] = replace(self.by_key[key], run=run)
        self.saved[key] = [*(file for file in files if self.save(self.by_key[key], file)), *saved]

    def _file_for(self, first: Path, key: Key) -> Path:
        root, _ = key
        trace = self.by_key[key]
        parts = []
        if root:
            parts.append(re.sub(r"\W+", "_", trace.model.class_name.rpartition(".")[2]))
        if any(other == root for other, _ in self.files_of):
            parts.append(f"call{trace.run.call}")
        taken = {file for files in self.files_of.values() for file in files}
        file = with_parts(first, *parts)
        if file in taken:  # two roots of one class, or two ways in
            file = with_parts(first, *parts[:1], str(root + 1), *parts[1:])
        return file


def split_suffix(file: Path) -> tuple[str, str]:
    """The name of a file without its suffix, and the suffix; `.trace.json` is one suffix."""
    suffix = ".trace.json" if file.name.endswith(".trace.json") else file.suffix
    return file.name.removesuffix(suffix), suffix


def with_parts(file: Path, *parts: str) -> Path:
    """The file with more parts in its name, before the suffix."""
    name, suffix = split_suffix(file)
    return file.with_name(".".join((name, *parts)) + suffix)


def joined(first: Trace, second: Trace) -> Trace:
    """One trace of two recordings of the same root, the second after the first."""
    start = _size(first)
    counts = Counter(call.path for call in first.calls)

    def later(row: Call | Op) -> dict[str, Any]:
        moved: dict[str, Any] = {side: _later(getattr(row, side), start, second) for side in ("inputs", "outputs")}
        if isinstance(row, Call) and row.between_hooks is not None:
            between = (row.forward_inputs, row.forward_outputs)
            moved["between_hooks"] = BetweenHooks(*(leaves and _later(leaves, start, second) for leaves in between))
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


def _size(trace: Trace) -> int:
    return len(trace.calls) + len(trace.ops or ())


def ran(trace: Trace) -> list[tuple[str | None, ...]]:
    """What ran in a trace, in order: the modules with how they were entered, and the ops."""
    return [
        (event.path, event.class_name, event.entry, event.opaque) if isinstance(event, Call) else (event.name,)
        for event in trace.events
    ]


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
