"""Who writes into which memory while a model runs, so that it is known who spoiled what backward had saved."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor

from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.measures.values import version_of
from fwdtrace.recorder.notes import Note
from fwdtrace.recorder.torch_internals import memory_of, without_torch_function


class Writes:
    """Knows the calls and ops that wrote, by memory; no tensor lives longer because of it.

    All views of one memory have one version, which counts the writes. Of nested calls the innermost ends first, and is
    the one that wrote. The entries of memory that was given back stay, so the version of later ones begins again.
    """

    def __init__(self) -> None:
        self._clock = 0
        # Of those that run: when they began, and the versions of what they were given.
        self._given: dict[Note, tuple[int, list[tuple[weakref.ref[Tensor], int]]]] = {}
        # By memory: each version, who wrote then, and when.
        self._by_memory: dict[int, list[tuple[int, Note, int]]] = {}

    def begins(self, note: Note, args: Any, kwargs: Any) -> None:
        """Take down the versions of what a call or op is given."""
        self._clock += 1
        with without_torch_function():
            given = [(weakref.ref(tensor), version_of(tensor)) for tensor in tensors_of((args, kwargs))]
            self._given[note] = self._clock, [(tensor, version) for tensor, version in given if version >= 0]

    def ends(self, note: Note) -> None:
        """See which of the versions have changed."""
        began, given = self._given.pop(note, (0, []))
        with without_torch_function():
            for reference, version in given:
                tensor = reference()
                now = version_of(tensor) if tensor is not None else version
                if tensor is None or now == version:
                    continue
                known = self._by_memory.setdefault(memory_of(tensor), [])
                if not known or known[-1][0] != now or known[-1][2] < began:  # else one within it wrote
                    known.append((now, note, self._clock))

    def forget_unfinished(self) -> None:
        """The calls and ops that have not ended by now have raised."""
        self._given.clear()

    def into(self, note: Note, version: int) -> int | None:
        """The memory into which this call or op wrote, and that had this version then."""
        found = (
            memory for memory, writes in self._by_memory.items() if (version, note) in [each[:2] for each in writes]
        )
        return next(found, None)

    def only_memory(self, saved: int, now: int) -> int | None:
        """The memory that had these two versions, and was written into in between by who is known; None of several."""
        found = [memory for memory, writes in self._by_memory.items() if writes[-1][0] == now]
        found = [memory for memory in found if len(self.after(memory, saved, now)) == now - saved]
        return found[0] if len(found) == 1 else None

    def after(self, memory: int, saved: int, now: int) -> list[Note]:
        """Who wrote into a memory that had the version `saved` and has the version `now`, in order."""
        writers: list[Note] = []
        above = now + 1
        for version, note, _ in reversed(self._by_memory.get(memory, [])):
            if not saved < version < above:
                break
            writers.append(note)
            above = version
        return writers[::-1]
