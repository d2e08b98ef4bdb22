"""The sources of the leaves of a finished recording, from what was noted of its tensors while the model ran."""

from __future__ import annotations

from collections.abc import Iterator
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


class Sources:
    """Gives the leaves of one recording their sources; asked for its calls and ops in order of beginning."""

    def __init__(self, flow: DataFlow, recorded: Recorded, ids: dict[Note, int]) -> None:
        self._flow = flow
        self._recorded = recorded
        self._ids = ids
        self._names = _first_names(recorded.root)
        self._sources: dict[tuple[int, int], Source | None] = {}
        # By the leaf without a source, kept so that no other has its identity, and by what is known of a tensor.
        self._leaves: dict[tuple[int, int], tuple[TensorMeta, TensorMeta]] = {}

    def of_call(self, call: OpenCall, inputs: Leaves, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The leaves of a call with their sources. From the call of the root on, its arguments have their names."""
        taken: Noted = getattr(call, "taken", ())
        if self._recorded.names.get(call.seen, ())[:1] == ("",):
            tensors = (leaf for leaf in inputs if type(leaf) is TensorMeta)
            for leaf, entry in zip(tensors, entries_of(taken), strict=False):
                source = self._source(entry.maker, entry.place)
                if source is None or source.argument is not None:
                    self._sources[id(entry.maker), entry.place] = Source(argument=leaf.name)
                    self._leaves.clear()  # which may have been given the argument of an earlier call
        return self._with(inputs, taken), self._with(outputs, getattr(call, "given", ()))

    def of_op(self, op: OpenOp, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The leaves of an op with their sources."""
        return self._with(op.inputs, getattr(op, "taken", ())), self._with(outputs, getattr(op, "given", ()))

    def of_forward(self, call: OpenCall, inputs: Leaves, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The leaves of what `forward` itself was given and gave, between the hooks."""
        taken, given = getattr(call, "taken_by_forward", ()), getattr(call, "given_by_forward", ())
        return self._with(inputs, taken), self._with(outputs, given)

    def made(self) -> Iterator[Made]:
        """The tensors that are known, weakly, and where in this recording they were made."""
        for entry in self._flow.entries():
            tensor = entry()
            if tensor is not None and entry.maker in self._ids:
                source = self._source(entry.maker, entry.place)
                if source is not None:
                    yield ref(tensor), source  # an entry itself would keep all that was noted

    def _with(self, leaves: Leaves, noted: Noted) -> Leaves:
        """The leaves with the source of each tensor, in the order of what was noted."""
        if not noted:
            return leaves
        leaf_of, place = self._leaves, 0
        if type(noted) is Known and len(leaves) == 1:  # as mostly
            only, key = leaves[0], (id(leaves[0]), id(noted))
            known = leaf_of.get(key)
            if known is not None:
                return (known[1],)
            if type(only) is TensorMeta:
                known = leaf_of[key] = only, self._with_source(only, noted)
                return (known[1],)
        entries = entries_of(noted)
        found: list[Leaf] = []
        for leaf in leaves:
            if type(leaf) is TensorMeta:
                entry = entries[place]
                place += 1
                key = id(leaf), id(entry)
                known = leaf_of.get(key)
                if known is None:
                    known = leaf_of[key] = leaf, self._with_source(leaf, entry)
                leaf = known[1]
            found.append(leaf)
        return tuple(found)

    def _with_source(self, leaf: TensorMeta, entry: Known) -> TensorMeta:
        source = self._source(entry.maker, entry.place)
        changed_by = self._ids.get(entry.writer) if entry.writer is not None else None
        if source is None and changed_by is None:
            return leaf
        draft: Any = TensorDraft()
        draft.name, draft.shape, draft.dtype, draft.device = leaf.name, leaf.shape, leaf.dtype, leaf.device
        draft.requires_grad, draft.layout, draft.stats = leaf.requires_grad, leaf.layout, leaf.stats
        draft.placements, draft.local_shape = leaf.placements, leaf.local_shape
        draft.source, draft.changed_by = source, changed_by
        draft.__class__ = TensorMeta
        return draft  # type: ignore[no-any-return]

    def _source(self, maker: Any, place: int) -> Source | None:
        """The source that all entries of one tensor have in common."""
        key = id(maker), place
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
