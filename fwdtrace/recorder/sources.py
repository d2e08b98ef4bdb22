"""The sources of the leaves of a finished recording, from what was noted of its tensors while the model ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any
from weakref import ref

from fwdtrace.recorder.drafts import SourceDraft, TensorDraft
from fwdtrace.recorder.earlier import Carried, Made
from fwdtrace.recorder.flow import DataFlow
from fwdtrace.recorder.held import Held
from fwdtrace.recorder.notes import HookRun, Known, Leaves, Note, Noted, OpenCall, OpenOp, entries_of
from fwdtrace.recorder.recorded import Recorded
from fwdtrace.recorder.tree import tensors_and_names
from fwdtrace.trace import Leaf, Source, TensorMeta

_said = attrgetter(
    *("name", "shape", "dtype", "device", "requires_grad", "layout", "stats", "placements", "local_shape")
)
"""What a leaf says of a tensor without its source."""


class _SourceByMaker(dict[tuple[Any, int], Source | None]):
    """The source of a tensor, by what made it and its place there: one object for all leaves that say so."""

    def __init__(self, flow: DataFlow, recorded: Recorded, ids: Mapping[Note, int]) -> None:
        super().__init__()
        self._replaced = flow.replaced
        self._recorded = recorded
        self._ids = ids

    def __missing__(self, key: tuple[Any, int]) -> Source | None:
        maker, place = key
        number = self._ids.get(maker)
        if number is None:
            source = self[key] = self._from_elsewhere(maker)
            return source
        outputs, replaced = maker.outputs, self._replaced
        draft: Any = SourceDraft()
        draft.id, draft.output = number, place if len(outputs) < 2 else _place_among(outputs, place)
        draft.hook = replaced[key].name if replaced and key in replaced else None
        draft.argument = draft.parameter = draft.buffer = draft.attribute = draft.call = None
        draft.__class__ = Source
        self[key] = draft
        return draft  # type: ignore[no-any-return]

    def _from_elsewhere(self, maker: Any) -> Source | None:
        """The source of a tensor that no call or op of this recording has made."""
        if isinstance(maker, Held):
            return self._of_held(maker)
        if isinstance(maker, HookRun):
            return Source(hook=maker.name)
        if isinstance(maker, Carried):
            return maker.source if maker.earlier is self._recorded.earlier else None
        return None

    @cached_property
    def _names(self) -> dict[int, str]:
        """The name by which torch lists each parameter and buffer of the model, by identity."""
        return {id(tensor): name for name, tensor in tensors_and_names(self._recorded.root)}

    def _of_held(self, held: Held) -> Source | None:
        paths = self._recorded.names.get(held.seen)
        if not paths:
            return None
        # What is there now may be another one, which has a name of its own.
        is_there = held.kind != "attribute" and id(held.content()) == held.identity
        registered = self._names.get(held.identity) if is_there else None
        name = registered or f"{paths[0]}.{held.label()}".lstrip(".")
        if held.kind == "parameter":
            return Source(parameter=name)
        return Source(buffer=name) if held.kind == "buffer" else Source(attribute=name)


class Sources:
    """Gives the leaves of one recording their sources; asked for its calls and ops in order of beginning."""

    def __init__(self, flow: DataFlow, recorded: Recorded, ids: Mapping[Note, int]) -> None:
        self._flow = flow
        self._ids = ids
        self._sources = _SourceByMaker(flow, recorded, ids)
        # By the identity of leaves: they themselves, and the places and identities of the tensors among them.
        self._tensors: dict[int, tuple[Leaves, list[int], list[int]]] = {}
        # By the identity of a leaf without a source, which is kept so that no other has that identity.
        self._said: dict[int, tuple[Any, ...]] = {}
        self._kept: list[Leaf] = []
        # By the same, and by the identity of what is known of a tensor: the leaf with the source, alone in a tuple.
        self._leaves: dict[tuple[int, int], tuple[Leaf]] = {}

    def name_arguments(self, call: OpenCall, inputs: Leaves) -> None:
        """From this call of the root on, what it was given has the names of its arguments."""
        tensors = (leaf for leaf in inputs if type(leaf) is TensorMeta)
        for leaf, entry in zip(tensors, entries_of(getattr(call, "taken", ())), strict=False):
            source = self._sources[entry.maker, entry.place]
            if source is None or source.argument is not None:
                self._sources[entry.maker, entry.place] = Source(argument=leaf.name)
                self._leaves.clear()  # which may have been given the argument of an earlier call

    def of_forward(self, call: OpenCall, inputs: Leaves, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The leaves of what `forward` itself was given and gave, between the hooks."""
        taken, given = getattr(call, "taken_by_forward", ()), getattr(call, "given_by_forward", ())
        return self.of_leaves(inputs, taken), self.of_leaves(outputs, given)

    def made(self) -> Iterator[Made]:
        """The tensors that are known, weakly, and where in this recording they were made."""
        for entry in self._flow.entries():
            tensor = entry()
            if tensor is not None and entry.maker in self._ids:
                source = self._sources[entry.maker, entry.place]
                if source is not None:
                    yield ref(tensor), source  # an entry itself would keep all that was noted

    def of_made(self, leaves: Leaves, op: OpenOp) -> Leaves:
        """The leaves of what an op gave with their sources: mostly one new tensor, which none has asked for yet."""
        if op.error is not None:
            return leaves
        if op.given is None and len(leaves) == 1 and op is not getattr(op.parent, "given", None):
            return (self._leaf(leaves[0], op),)
        return self.of_leaves(leaves, op.gave())

    def of_leaves(self, leaves: Leaves, noted: Noted) -> Leaves:
        """The leaves with the source of each tensor, in the order of what was noted."""
        if not isinstance(noted, Known) or not leaves or type(leaves[0]) is not TensorMeta:
            return self._of_several(leaves, noted) if noted else leaves
        first = leaves[0]
        key = id(first), id(noted)
        found = self._leaves.get(key)
        if found is None:
            found = self._leaves[key] = (self._leaf(first, noted),)
        return found + leaves[1:]

    def _of_several(self, leaves: Leaves, noted: Noted) -> Leaves:
        tensors = self._tensors.get(id(leaves))
        if tensors is None:
            places = [place for place, leaf in enumerate(leaves) if type(leaf) is TensorMeta]
            tensors = self._tensors[id(leaves)] = leaves, places, [id(leaves[place]) for place in places]
        _, places, ids = tensors
        entries = noted if type(noted) is list else entries_of(noted)
        known, all_found = self._leaves, list(leaves)
        for place, key, entry in zip(places, zip(ids, map(id, entries), strict=False), entries, strict=False):
            found = known.get(key)
            if found is None:
                found = known[key] = (self._leaf(leaves[place], entry),)
            all_found[place] = found[0]
        return tuple(all_found)

    def _leaf(self, leaf: Any, entry: Known) -> Leaf:
        """The leaf of a tensor with its source."""
        source = self._sources[entry.maker, entry.place]
        changed_by = self._ids.get(entry.writer) if entry.writer is not None else None
        said = self._said.get(id(leaf))
        if said is None:
            if type(leaf) is not TensorMeta:
                return leaf  # type: ignore[no-any-return]
            said = self._said[id(leaf)] = _said(leaf)
            self._kept.append(leaf)
        if source is None and changed_by is None:
            return leaf  # type: ignore[no-any-return]
        t: Any = TensorDraft()
        t.name, t.shape, t.dtype, t.device, t.requires_grad, t.layout, t.stats, t.placements, t.local_shape = said
        t.source, t.changed_by = source, changed_by
        t.__class__ = TensorMeta
        return t  # type: ignore[no-any-return]


def _place_among(leaves: Leaves, place: int) -> int:
    """The place of a tensor among all leaves, from that among the tensors."""
    places = [index for index, leaf in enumerate(leaves) if type(leaf) is TensorMeta]
    # More were noted of what a hook has replaced than there are in the output of the call.
    return places[place] if place < len(places) else place
