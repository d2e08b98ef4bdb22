"""Data flow: which call or op made each tensor, and which wrote into it, by the tensor's identity and version."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from torch import Tensor, nn

from fwdtrace.recorder.alike import LIKE_NOTHING, NO_VERSION, version_of
from fwdtrace.recorder.earlier import Carried
from fwdtrace.recorder.held import Held, all_held, held_by, own_tensors, places_by_tensor, versions_in
from fwdtrace.recorder.measures.functions import gives_nothing, replaces_data
from fwdtrace.recorder.memories import Memories, is_shared
from fwdtrace.recorder.notes import (
    NOTHING,
    HookRun,
    Known,
    KnownOtherwise,
    Note,
    Noted,
    OpenCall,
    OpenOp,
    entries_of,
)
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import memory_of, without_torch_function
from fwdtrace.recorder.written import is_norm, statistics_written, writes_by_name


class KnownParameter(KnownOtherwise):
    """What is known of a parameter: found by its place, as torch swaps no tensor that has a weak reference."""

    maker: Held

    # References are equal if what they refer to is, and these refer to nothing.
    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    def __call__(self) -> Any:
        """The parameter, None if it is gone."""
        module = self.maker.seen()
        table = None if module is None else module.__dict__.get("_parameters")
        return dict.get(table, self.maker.name) if isinstance(table, dict) else None


class DataFlow:
    """Knows tensors weakly: none lives longer because it is known.

    A tensor that a call or op gives was made by it, unless it was known before: so the innermost one made it, and what
    only hands a tensor on did not. All views of one memory have one version, so a write into a view is noticed at its
    base too; who wrote is then found by the memory that they share.

    What is noted of a call or op is an entry for each tensor: a weak reference with its `version`, what made it, its
    `place` among the tensors that this made, what has written into it since, how long the log was when it was met, and
    those that it was like. Its `maker` is a call or op, or the place in a module, the hook or the earlier recording
    that it came from; it is None if that is not known. Where it is no call or op, the place among others is a number
    that no other tensor has.
    """

    def __init__(self, session: Session) -> None:
        self.replaced: dict[tuple[OpenCall, int], HookRun] = {}
        """The hooks that put a tensor of their own in the place of an output."""
        self._session = session
        self._leaves = session.leaves
        # By identity. The entry of a tensor that is gone stays until another has its identity.
        self._known: dict[int, Known] = session.leaves.known
        self._writes: dict[int, tuple[Note, int, int]] = {}
        """By memory: the last to write into it, the version after that, and how long the log was."""
        self._apart: set[int] = set()
        """The memories of which not all tensors may count all writes."""
        self._memories = Memories(session)
        self._own: dict[OpenCall, list[tuple[int, int]]] = {}
        """Of calls that run unseen: the version of each tensor that its module holds, as it was before."""
        self._held: dict[int, Held] = {}
        self._held_at: OpenCall | None = None
        self._numbers = count()
        self._learnt = 0

    def learn_what_modules_hold(self) -> None:
        """Know parameters, buffers and attributes before a module gives one as its output, which it did not make."""
        if self._learnt == len(self._session.seen):
            return
        self._learnt = len(self._session.seen)
        pairs = all_held(self._session)
        self._held = places_by_tensor(pairs)
        for tensor, held in pairs:
            key = id(tensor)
            entry = self._known.get(key)
            if entry is None or entry() is not tensor:
                maker = self._carried(tensor) or held
                self._know(tensor, version_of(tensor), maker, next(self._numbers), None, 0, LIKE_NOTHING)

    def entries(self) -> list[Known]:
        """The latest entry of each tensor that is known, and of some that are gone."""
        return list(self._known.values())

    def stop(self) -> None:
        """Forget the tensors; what was noted of calls and ops stays."""
        self._known.clear()
        self._held.clear()
        self._writes.clear()
        self._apart.clear()
        self._memories.forget()
        self._own.clear()

    def takes(self, found: list[Any], hook: HookRun | None = None) -> Noted:
        """The entries of the tensors that a call or op is given; a hook may have put them there.

        `found` is what a LeafTable found, and becomes the entries. To be called where no mode of torch's listens,
        because versions are read.
        """
        for place, tensor in enumerate(found):
            if isinstance(tensor, Known):
                continue
            entry = self._known.get(id(tensor))
            if entry is None or entry() is not tensor:
                entry = self._met(tensor, hook)
            elif entry.version >= 0 and entry.version != tensor._version:
                entry = self._changed(tensor, entry, None)
            like = self._leaves.alike_with(tensor)
            if like is not entry.like:
                entry = self._know(tensor, entry.version, entry.maker, entry.place, entry.writer, entry.clock, like)
            found[place] = entry
        return found[0] if len(found) == 1 else found or ()

    def gives(self, note: Note, found: list[Any], taken: Noted, hook: HookRun | None = None) -> Noted:
        """The entries of the tensors that a call or op gave; `taken` are those that it was given.

        `found` is what a LeafTable found, and becomes the entries.
        """
        self.sees_writes(note, taken)
        if isinstance(note, OpenOp) and gives_nothing(note.function):
            self._sees_assignment(note, entries_of(taken)[:1])
        known, clock = self._known, len(self._session.log)
        for place, tensor in enumerate(found):
            if isinstance(tensor, Known):
                tensor = tensor()
            entry = known.get(id(tensor))
            if entry is None or entry() is not tensor:
                like = self._leaves.alike_with(tensor)
                entry = self._know(tensor, version_of(tensor), note, place, None, clock, like)
                if hook is not None and isinstance(note, OpenCall):
                    self.replaced[note, place] = hook
            elif entry.version >= 0:
                if entry.version != tensor._version:
                    is_written = any(before() is tensor for before in entries_of(taken)) or (
                        _is_in(entry.maker, note) and memory_of(tensor) not in self._apart
                    )
                    entry = self._changed(tensor, entry, note if is_written else None)
            elif writes_by_name(note) and any(before() is tensor for before in entries_of(taken)):
                entry = self._wrote_unversioned(tensor, entry, note)
            found[place] = entry
        return found[0] if len(found) == 1 else found or ()

    def sees_writes(self, note: Note, taken: Noted) -> None:
        """Note what a call or op wrote into of that which it was given, if nothing inside is known to have done so."""
        if not taken:
            return
        if not isinstance(taken, list):
            written = taken()
            if written is None or taken.version < 0 or taken.version == written._version:
                return
            taken = [taken]
        for before in taken:
            written = before()
            if written is not None and before.version >= 0 and before.version != written._version:
                latest = self._known.get(id(written), before)
                if 0 <= latest.version != written._version:
                    self._changed(written, latest, note, wrote=True)

    def looks_at_own(self, call: OpenCall) -> None:
        """Note the versions of what a module holds, before it runs by ops that are not shown."""
        if not is_norm(call):
            self._own[call] = versions_in(call.seen)

    def sees_own_written(self, call: OpenCall) -> None:
        """Note what a module wrote into of that which it holds."""
        before = self._own.pop(call, None)
        if is_norm(call):
            self.sees_statistics(call)
        elif before is not None and before != versions_in(call.seen):
            versions = dict(before)
            for tensor in own_tensors(call.seen):
                if versions.get(id(tensor), -1) not in (-1, version_of(tensor)):
                    self._changed(tensor, self._entry(tensor), call, wrote=True)

    def sees_statistics(self, note: Note) -> None:
        """Note what a norm wrote into of its running mean and variance."""
        for tensor in statistics_written(note, entries_of(note.taken)):
            entry = self._entry(tensor)
            self._know(tensor, version_of(tensor), entry.maker, entry.place, note, entry.clock, entry.like)

    def _entry(self, tensor: Tensor) -> Known:
        entry = self._known.get(id(tensor))
        return entry if entry is not None and entry() is tensor else self._met(tensor, None)

    def wrote(self, op: OpenOp) -> bool:
        """Whether an op is known to have been the last to write into something that it was given."""
        given = (before() for before in entries_of(op.taken) if before.version >= 0)
        writes = (self._writes.get(memory_of(tensor)) for tensor in given if tensor is not None)
        return any(last is not None and last[0] is op for last in writes)

    def are_written_apart(self, function: Any, tensors: Sequence[Any]) -> None:
        """From now on, not all tensors in the memory of these may count what is written into it.

        After `x.data = y`, `x` still counts together with those that were in its memory before and are there alone.
        """
        tensors = [tensor for tensor in tensors if isinstance(tensor, Tensor)]
        self._apart.update(map(memory_of, tensors))
        if replaces_data(function) and tensors:
            self._entry(tensors[0])
            together = self._memories.known_in(memory_of(tensors[0]))
            for tensor, entry in together if len(together) > 1 else ():
                if 0 <= entry.version != version_of(tensor):
                    entry = self._changed(tensor, entry, None)
                self._know(tensor, NO_VERSION, entry.maker, entry.place, entry.writer, entry.clock, entry.like)

    def is_replaced(self, parameter: Any) -> None:
        """Go on knowing a parameter whose place another one is about to get."""
        entry = self._known.get(id(parameter))
        if isinstance(entry, KnownParameter) and entry() is parameter:
            parts = entry.version, entry.maker, entry.place, entry.writer, entry.clock, entry.like
            self._known[id(parameter)] = _filled(KnownOtherwise(parameter), *parts)

    def _sees_assignment(self, op: OpenOp, first: Sequence[Known]) -> None:
        """Note what an assignment did to its first argument, if the version of that does not say it."""
        for before in first:
            written = before()
            if written is not None and replaces_data(op.function):
                clock, like = len(self._session.log), self._leaves.alike_with(written)
                self._know(written, before.version, before.maker, before.place, op, clock, like)
            elif written is not None and before.version < 0:
                self._wrote_unversioned(written, before, op)

    def _wrote_unversioned(self, tensor: Tensor, entry: Known, writer: Note) -> Known:
        """The entry of a tensor that has no version, and into which this call or op wrote."""
        with without_torch_function():  # it may be of a class of the user's
            self._wrote_to_others(tensor, memory_of(tensor), writer)
        return self._know(tensor, entry.version, entry.maker, entry.place, writer, entry.clock, entry.like)

    def _changed(self, tensor: Tensor, entry: Known, writer: Note | None, *, wrote: bool = False) -> Known:
        """The entry of a tensor that has another version now: written by what is known to have, or else by `writer`.

        With `wrote`, it was written while `writer` ran: by that, or by something in it. The version alone does not say
        who it was: `x.data` shares the memory of `x`, and counts its own writes. What a call or op made is of unknown
        source once nobody knows who wrote into it: `x.set_(y)` is one that torch shows to no mode.
        """
        version, memory, clock = tensor._version, memory_of(tensor), len(self._session.log)
        last = self._writes.get(memory)
        maker, place = entry.maker, entry.place
        if last is not None and last[1] == version and (_is_in(last[0], writer) if wrote else last[2] >= entry.clock):
            writer = last[0]
        elif writer is not None:
            self._writes[memory] = writer, version, clock
            if memory in self._apart:
                self._wrote_to_others(tensor, memory, writer)
        else:
            self._apart.add(memory)
            if isinstance(maker, (OpenCall, OpenOp)):
                maker, place = None, next(self._numbers)
        return self._know(tensor, version, maker, place, writer, entry.clock, entry.like)

    def _wrote_to_others(self, tensor: Tensor, memory: int, writer: Note) -> None:
        """Note who wrote into a tensor at all others that are known in its memory, if somebody else holds that."""
        if not is_shared(tensor):
            return
        for other, entry in self._memories.known_in(memory):
            if other is not tensor:
                version = entry.version if entry.version < 0 else version_of(other)
                self._know(other, version, entry.maker, entry.place, writer, entry.clock, entry.like)

    def _met(self, tensor: Tensor, hook: HookRun | None) -> Known:
        """The new entry of a tensor that nothing observed has made."""
        maker = self._carried(tensor) or self._holder(tensor) or hook
        number, clock, like = next(self._numbers), len(self._session.log), self._leaves.alike_with(tensor)
        return self._know(tensor, version_of(tensor), maker, number, None, clock, like)

    def _know(
        self, tensor: Tensor, version: int, maker: Any, place: int, writer: Note | None, clock: int, like: Any
    ) -> Known:
        """The new entry of a tensor, which takes the place of the one that it had."""
        if isinstance(maker, Held) and maker.kind == "parameter" and maker.content() is tensor:
            known: KnownOtherwise = KnownParameter(NOTHING)
        else:
            known = KnownOtherwise(tensor)
        self._known[id(tensor)] = _filled(known, version, maker, place, writer, clock, like)
        self._memories.met(tensor)
        return known

    def _carried(self, tensor: Tensor) -> Carried | None:
        """Where an earlier call of a root that is recorded made the tensor."""
        for recorded in self._session.recordings:
            source = recorded.earlier.source(tensor)
            if source is not None:
                return Carried(recorded.earlier, source)
        return None

    def _holder(self, tensor: Tensor) -> Held | None:
        """The place in a module where the tensor is."""
        stack = self._session.threads.stack
        if not stack and not isinstance(tensor, nn.Parameter):  # what is given to the outermost call is seldom held
            return None
        held = self._held.get(id(tensor))
        if held is not None and held.content() is tensor:
            return held
        outermost = stack[0] if stack else None
        if outermost is None or self._held_at is not outermost:
            self._held, self._held_at = places_by_tensor(all_held(self._session)), outermost
            return self._held.get(id(tensor))
        # All modules were looked at in this call: what came since is likely to be where it was put.
        places = (pair for call in reversed(stack) for pair in held_by(call.seen))
        return next((held for content, held in places if content is tensor), None)


def _filled(
    known: KnownOtherwise, version: int, maker: Any, place: int, writer: Note | None, clock: int, like: Any
) -> KnownOtherwise:
    """The same entry, with what is known of its tensor."""
    known.version, known.maker, known.place = version, maker, place
    known.writer, known.clock, known.like = writer, clock, like
    return known


def last_changed(call: OpenCall, kind: str) -> HookRun | None:
    """The last hook of this kind, global ones included, that has put other tensors in place of those of a call."""
    kinds = (kind, f"global_{kind}", f"{kind}_always_call", f"global_{kind}_always_call")
    replaced = [run for run in (call.hooks or {}).values() if run.replaced and run.kind in kinds]
    return replaced[-1] if replaced else None


def _is_in(note: Any, call: Note | None) -> bool:
    """Whether it is a call or op that ran while `call` did."""
    inner: Note | None = note if isinstance(note, (OpenCall, OpenOp)) else None
    while inner is not None and inner is not call:
        inner = inner.parent
    return inner is not None
