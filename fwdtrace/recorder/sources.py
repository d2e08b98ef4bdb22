"""The sources of the leaves of a finished recording, from what was noted of its tensors while the model ran."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any
from weakref import ref

from torch import nn

from fwdtrace.recorder.drafts import SourceDraft, TensorDraft
from fwdtrace.recorder.earlier import Carried, Made
from fwdtrace.recorder.flow import DataFlow, Held
from fwdtrace.recorder.notes import HookRun, Known, Leaves, Note, Noted, OpenCall, OpenOp, Recorded, entries_of
from fwdtrace.recorder.tree import buffers_and_names, parameters_and_names
from fwdtrace.trace import Leaf, Source, TensorMeta

_NOT_ASKED = Source()
_plain = attrgetter("name", "shape", "dtype", "device", "requires_grad", "layout")
_rare = attrgetter("stats", "placements", "local_shape")


class Sources:
    """Gives the leaves of one recording their sources; asked for its calls and ops in order of beginning."""

    def __init__(self, flow: DataFlow, recorded: Recorded, ids: dict[Note, int]) -> None:
        self._flow = flow
        self._recorded = recorded
        self._ids = ids
        self._names = _first_names(recorded.root)
        self._sources: dict[tuple[Any, int], Source | None] = {}
        # By the identity of leaves: they themselves, and the places and identities of the tensors among them.
        self._tensors: dict[int, tuple[Leaves, list[int], list[int]]] = {}
        # By the identity of a leaf without a source: the leaf, so that no other has that identity, and what it says.
        self._said: dict[int, tuple[Any, ...]] = {}
        # By the same, and by the identity of what is known of a tensor: the leaf with the source, alone in a tuple.
        self._leaves: dict[tuple[int, int], tuple[Leaf]] = {}

    def name_arguments(self, call: OpenCall, inputs: Leaves) -> None:
        """From this call of the root on, what it was given has the names of its arguments."""
        tensors = (leaf for leaf in inputs if type(leaf) is TensorMeta)
        for leaf, entry in zip(tensors, entries_of(getattr(call, "taken", ())), strict=False):
            source = self._source(entry.maker, entry.place)
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
                source = self._source(entry.maker, entry.place)
                if source is not None:
                    yield ref(tensor), source  # an entry itself would keep all that was noted

    def of_made(self, leaves: Leaves, noted: Noted, op: OpenOp) -> Leaves:
        """The leaves of what an op gave with their sources: mostly one new tensor, which none has asked for yet."""
        if type(noted) is Known and len(leaves) == 1 and noted is not getattr(op.parent, "given", None):
            return (self._leaf(leaves[0], noted),)
        return self.of_leaves(leaves, noted)

    def of_leaves(self, leaves: Leaves, noted: Noted) -> Leaves:
        """The leaves with the source of each tensor, in the order of what was noted."""
        if type(noted) is not Known or type(leaves[0]) is not TensorMeta:
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
        entries, known, all_found = entries_of(noted), self._leaves, list(leaves)
        for place, key, entry in zip(places, zip(ids, map(id, entries), strict=False), entries, strict=False):
            found = known.get(key)
            if found is None:
                found = known[key] = (self._leaf(leaves[place], entry),)
            all_found[place] = found[0]
        return tuple(all_found)

    def _leaf(self, leaf: Any, entry: Known) -> Leaf:
        """The leaf of a tensor with its source."""
        source = self._sources.get((entry.maker, entry.place), _NOT_ASKED)
        if source is _NOT_ASKED:
            source = self._sources[entry.maker, entry.place] = self._new_source(entry.maker, entry.place)
        changed_by = self._ids.get(entry.writer) if entry.writer is not None else None
        said = self._said.get(id(leaf))
        if said is None:
            if type(leaf) is not TensorMeta:
                return leaf  # type: ignore[no-any-return]
            said = self._said[id(leaf)] = leaf, *_plain(leaf), _rare(leaf)
        if source is None and changed_by is None:
            return leaf  # type: ignore[no-any-return]
        new: Any = TensorDraft()
        _, new.name, new.shape, new.dtype, new.device, new.requires_grad, new.layout, rare = said
        new.stats, new.placements, new.local_shape = rare
        new.source, new.changed_by = source, changed_by
        new.__class__ = TensorMeta
        return new  # type: ignore[no-any-return]

    def _source(self, maker: Any, place: int) -> Source | None:
        """The source that all entries of one tensor have in common."""
        key = maker, place
        source = self._sources.get(key, _NOT_ASKED)
        if source is _NOT_ASKED:
            source = self._sources[key] = self._new_source(maker, place)
        return source

    def _new_source(self, maker: Any, place: int) -> Source | None:
        number = self._ids.get(maker)
        if number is None:
            return self._from_elsewhere(maker)
        replaced, outputs = self._flow.replaced, maker.outputs
        output = place
        if len(outputs) > 1:
            places = [index for index, leaf in enumerate(outputs) if type(leaf) is TensorMeta]
            # More were noted of what a hook has replaced than there are in the output of the call.
            output = places[place] if place < len(places) else place
        draft: Any = SourceDraft()
        draft.id, draft.output = number, output
        draft.hook = replaced[maker, place].name if replaced and (maker, place) in replaced else None
        draft.argument = draft.parameter = draft.buffer = draft.attribute = draft.call = None
        draft.__class__ = Source
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

    def _of_held(self, held: Held) -> Source | None:
        paths = self._recorded.names.get(held.seen)
        if not paths:
            return None
        name = self._names.get(id(held.content())) or f"{paths[0]}.{held.name}".lstrip(".")
        if held.kind == "parameter":
            return Source(parameter=name)
        return Source(buffer=name) if held.kind == "buffer" else Source(attribute=name)


def _first_names(root: nn.Module) -> dict[int, str]:
    """The name by which torch lists each parameter and buffer of a model, by identity."""
    listed = (*buffers_and_names(root), *parameters_and_names(root))
    return {id(tensor): name for name, tensor in reversed(listed)}
