"""Data flow: which call or op made each tensor, and which wrote into it, by the tensor's identity and version."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdtrace.recorder.describe import SCALARS, tensors_of
from fwdtrace.recorder.notes import HookRun, Leaves, OpenCall, OpenOp, Recorded, SeenModule
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import torch_function_modes, without_torch_function
from fwdtrace.trace import Source, TensorMeta

Note = OpenCall | OpenOp

Origin = tuple[Any, int, Note | None]
"""What made a tensor, which of its output tensors it is, and what has written into it since.

What made it is a call or op, or a module that holds it, or a hook; where it is None, the number only tells this tensor
from others.
"""

_NO_VERSION = -1
_DEEPEST_PLAIN = 4
_ATOMS = frozenset((*SCALARS, slice, torch.dtype, torch.device, torch.Size, torch.memory_format, torch.layout))


class _Known(NamedTuple):
    """A tensor that was met: a weak reference, its version then, where it came from, and how long the log was."""

    reference: weakref.ref[Tensor]
    version: int
    origin: Origin
    clock: int


class _Held(NamedTuple):
    """The place of a tensor in a module: its kind is that of the field in a Source."""

    seen: SeenModule
    kind: str
    name: str


class DataFlow:
    """The measure of data flow; every tensor is known weakly, and none lives longer because it is.

    A tensor that a call or op gives was made by it, unless it was known before: so the innermost one made it, and what
    only hands a tensor on did not. A view has a version counter in common with its base, so a write into one is seen at
    the other; who wrote is then found by the memory that they share.
    """

    def __init__(self, session: Session) -> None:
        self.taken: dict[Note, list[_Known]] = {}
        self.given: dict[Note, list[_Known]] = {}
        self.taken_by_forward: dict[OpenCall, list[_Known]] = {}
        self.given_by_forward: dict[OpenCall, list[_Known]] = {}
        self.replaced: dict[tuple[OpenCall, int], HookRun] = {}
        """The outputs that a hook put in the place of the module's own."""
        self._session = session
        # By identity. The entry of a tensor that is gone stays until another has its identity.
        self._known: dict[int, _Known] = {}
        self._writes: dict[int, tuple[Note, int, int]] = {}
        """By memory: the last to write into it, the version after that, and how long the log was."""
        self._held: dict[int, _Held] = {}
        self._held_at: OpenCall | None = None
        self._numbers = count()

    def begins(self, call: Note, args: Any, kwargs: Any) -> None:
        """Note where the arguments came from."""
        tensors = _tensors((*args, *kwargs.values()) if kwargs else args)
        if tensors:
            self.taken[call] = self._taken(call, tensors, None)

    def ends(self, call: Note, output: Any) -> None:
        """Note what was written into, and what is new."""
        taken = self.taken.get(call)
        if taken is not None:
            self._note_writes(call, taken)
        tensors = _tensors((output,))
        if tensors:
            hook = _last_changed(call, "forward") if type(call) is OpenCall and call.hooks else None
            self.given[call] = self._given(call, tensors, taken or (), hook)

    def stop(self) -> None:
        """Forget the tensors; what they were is kept."""
        self._known.clear()
        self._held.clear()
        self._writes.clear()

    def enters_forward(self, call: OpenCall, args: Any, kwargs: Any) -> None:
        """Note what comes in behind the pre-hooks, which may have replaced it."""
        tensors = _tensors((*args, *kwargs.values()))
        self.taken_by_forward[call] = self._taken(call, tensors, _last_changed(call, "forward_pre"))

    def leaves_forward(self, call: OpenCall, output: Any) -> None:
        """Note what comes out before the forward hooks, which may replace it."""
        self._note_writes(call, self.taken_by_forward[call])
        self.given_by_forward[call] = self._given(call, _tensors((output,)), self.taken_by_forward[call], None)

    def _taken(self, call: Note, tensors: list[Tensor], hook: HookRun | None) -> list[_Known]:
        taken = []
        known = self._known
        for tensor in tensors:
            entry = known.get(id(tensor))
            if entry is None or entry[0]() is not tensor:
                entry = self._met(tensor, call, hook)
            elif entry[1] >= 0 and entry[1] != _version(tensor):
                entry = self._changed(tensor, entry, None)
            taken.append(entry)
        return taken

    def _given(
        self, call: Note, tensors: list[Tensor], taken: Sequence[_Known], hook: HookRun | None
    ) -> list[_Known]:
        given = []
        known, clock = self._known, len(self._session.log)
        for place, tensor in enumerate(tensors):
            entry = known.get(id(tensor))
            if entry is None or entry[0]() is not tensor:
                entry = _Known(weakref.ref(tensor), _version_of_new(tensor), (call, place, None), clock)
                known[id(tensor)] = entry
                if hook is not None and type(call) is OpenCall:
                    self.replaced[call, place] = hook
            elif entry[1] >= 0:
                if entry[1] != _version(tensor):
                    entry = self._changed(tensor, entry, call)
            elif entry in taken and _writes_by_name(call):
                entry = known[id(tensor)] = entry._replace(origin=(*entry.origin[:2], call))
            given.append(entry)
        return given

    def _note_writes(self, call: Note, taken: Sequence[_Known]) -> None:
        """Find which of its arguments a call or op wrote into, if nothing inside it is known to have done so."""
        for entry in taken:
            if entry[1] < 0:
                continue
            tensor = entry[0]()
            if tensor is None:
                continue
            entry = self._known.get(id(tensor), entry)
            if entry[1] != _version(tensor):
                self._changed(tensor, entry, call)

    def _changed(self, tensor: Tensor, entry: _Known, writer: Note | None) -> _Known:
        """The entry of a tensor that has another version now: written by what is known to have, or else by `writer`."""
        version, memory, clock = _version(tensor), _memory(tensor), len(self._session.log)
        last = self._writes.get(memory)
        if last is not None and last[1] == version and last[2] >= entry.clock:
            writer = last[0]
        elif writer is not None:
            self._writes[memory] = writer, version, clock
        changed = self._known[id(tensor)] = _Known(entry.reference, version, (*entry.origin[:2], writer), entry.clock)
        return changed

    def _met(self, tensor: Tensor, call: Note, hook: HookRun | None) -> _Known:
        """The new entry of a tensor that nothing observed has made."""
        maker = self._holder(tensor, call) or hook
        origin = maker, next(self._numbers), None
        entry = _Known(weakref.ref(tensor), _version_of_new(tensor), origin, len(self._session.log))
        self._known[id(tensor)] = entry
        return entry

    def _holder(self, tensor: Tensor, call: Note) -> _Held | None:
        stack = self._session.threads.stack
        if not stack and not isinstance(tensor, nn.Parameter):  # what is given to the outermost call is seldom held
            return None
        outermost = stack[0] if stack else None
        held = self._held.get(id(tensor))
        if held is None or _content(held) is not tensor:
            if outermost is not None and self._held_at is outermost:
                return self._held_on_the_way(tensor)
            self._held, self._held_at = _all_held(self._session), outermost
            held = self._held.get(id(tensor))
        return held

    def _held_on_the_way(self, tensor: Tensor) -> _Held | None:
        """The place in a module whose call is open, for what has been put there since all modules were looked at."""
        for call in reversed(self._session.threads.stack):
            for held in _held_by(call.seen):
                if _content(held) is tensor:
                    return held
        return None


@dataclass
class Sources:
    """The sources of all tensors of one recording, in the ids of its calls and ops."""

    flow: DataFlow
    recorded: Recorded
    ids: dict[Note, int]

    def __post_init__(self) -> None:
        self._sources: dict[tuple[int, int], Source | None] = {}
        self._arguments: dict[tuple[int, int], Source] = {}
        self._names = _first_names(self.recorded.root)

    def of_call(self, call: OpenCall, inputs: Leaves, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The leaves of a call with their sources; calls come in order of beginning, for a root names its arguments."""
        taken = self.flow.taken.get(call, [])
        if self.recorded.names.get(call.seen, ("",))[:1] == ("",):
            tensors = (leaf for leaf in inputs if type(leaf) is TensorMeta)
            for leaf, entry in zip(tensors, taken, strict=False):
                if self._source(entry.origin) is None or self._key(entry.origin) in self._arguments:
                    self._arguments[self._key(entry.origin)] = Source(argument=leaf.name)
        return self._with(inputs, taken), self._with(outputs, self.flow.given.get(call, []))

    def of_op(self, op: OpenOp, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The leaves of an op with their sources."""
        return self._with(op.inputs, self.flow.taken.get(op, [])), self._with(outputs, self.flow.given.get(op, []))

    def of_forward(self, call: OpenCall, inputs: Leaves, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The leaves of what `forward` itself was given and gave, between the hooks."""
        taken, given = self.flow.taken_by_forward.get(call, []), self.flow.given_by_forward.get(call, [])
        return self._with(inputs, taken), self._with(outputs, given)

    def _with(self, leaves: Leaves, entries: list[_Known]) -> Leaves:
        """The leaves with the source of each tensor, in the order of the entries."""
        if not entries:
            return leaves
        remaining = iter(entries)
        return tuple(
            self._with_source(leaf, next(remaining, None)) if type(leaf) is TensorMeta else leaf for leaf in leaves
        )

    def _with_source(self, leaf: TensorMeta, entry: _Known | None) -> TensorMeta:
        if entry is None:
            return leaf
        source = self._arguments.get(self._key(entry.origin)) or self._source(entry.origin)
        writer = entry.origin[2]
        return TensorMeta(
            *(leaf.name, leaf.shape, leaf.dtype, leaf.device, leaf.requires_grad, leaf.layout, leaf.stats),
            *(leaf.placements, leaf.local_shape, source, self.ids.get(writer) if writer is not None else None),
        )

    def _key(self, origin: Origin) -> tuple[int, int]:
        return id(origin[0]), origin[1]

    def _source(self, origin: Origin) -> Source | None:
        key = self._key(origin)
        if key not in self._sources:
            self._sources[key] = self._new_source(origin[0], origin[1])
        return self._sources[key]

    def _new_source(self, maker: Any, place: int) -> Source | None:
        if type(maker) is _Held:
            return self._of_held(maker)
        if type(maker) is HookRun:
            return Source(hook=maker.name)
        number = self.ids.get(maker)
        if number is None:
            return None
        hook = self.flow.replaced.get((maker, place)) if type(maker) is OpenCall else None
        places = [index for index, leaf in enumerate(maker.outputs) if type(leaf) is TensorMeta]
        return Source(number, places[place] if place < len(places) else place, hook=hook.name if hook else None)

    def _of_held(self, held: _Held) -> Source | None:
        names = self.recorded.names.get(held.seen)
        if not names:
            return None
        content = _content(held)
        name = self._names.get(id(content)) or f"{names[0]}.{held.name}".lstrip(".")
        if held.kind == "parameter":
            return Source(parameter=name)
        return Source(buffer=name) if held.kind == "buffer" else Source(attribute=name)


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors in values, in the order of the leaves that describe them."""
    found: list[Tensor] = []
    for value in values:
        kind = type(value)
        if kind is Tensor or kind is nn.Parameter:
            found.append(value)
        elif kind not in _ATOMS:
            _add(found, value)
    return found


def _add(found: list[Tensor], value: Any, depth: int = 0) -> None:
    kind = type(value)
    if kind is Tensor or kind is nn.Parameter:
        found.append(value)
    elif (kind is tuple or kind is list) and depth < _DEEPEST_PLAIN:
        for item in value:
            _add(found, item, depth + 1)
    elif kind not in _ATOMS:
        with without_torch_function():
            found += tensors_of(value)


def _version(tensor: Tensor) -> int:
    """How often the tensor was written into; the same for all views of one memory."""
    if torch_function_modes():
        with without_torch_function():
            return tensor._version
    return tensor._version


def _version_of_new(tensor: Tensor) -> int:
    with without_torch_function():
        return _NO_VERSION if tensor.is_inference() else tensor._version


def _memory(tensor: Tensor) -> int:
    """What views of one memory have in common; a number of its own for what has no memory."""
    try:
        with without_torch_function():
            return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # a sparse or wrapped tensor
        return -id(tensor)


def _writes_by_name(call: Note) -> bool:
    """Whether a call or op that gives back what it was given writes into it, for tensors that have no version."""
    if isinstance(call, OpenCall):
        return bool(getattr(call.seen.module(), "inplace", False))
    name = getattr(call.function, "__name__", "")
    in_place = any(leaf.name in ("inplace", "out") for leaf in call.inputs)
    return in_place or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _last_changed(call: OpenCall, kind: str) -> HookRun | None:
    """The last hook of this kind, global ones included, that has replaced something in a call."""
    kinds = (kind, f"global_{kind}", f"{kind}_always_call", f"global_{kind}_always_call")
    changed = [run for run in (call.hooks or {}).values() if run.changed and run.kind in kinds]
    return changed[-1] if changed else None


def _all_held(session: Session) -> dict[int, _Held]:
    """Every tensor that an observed module holds, by identity; the first place of those that several hold."""
    places: dict[int, _Held] = {}
    for seen in list(session.seen.values()):
        for held in _held_by(seen):
            places.setdefault(id(_content(held)), held)
    return places


def _held_by(seen: SeenModule) -> list[_Held]:
    """The places of the tensors that a module itself holds."""
    module = seen.module()
    if module is None:
        return []
    own = module.__dict__
    return [
        *(_Held(seen, "parameter", name) for name, value in own.get("_parameters", {}).items() if value is not None),
        *(_Held(seen, "buffer", name) for name, value in own.get("_buffers", {}).items() if value is not None),
        *(_Held(seen, "attribute", name) for name, value in own.items() if isinstance(value, Tensor)),
    ]


def _content(held: _Held) -> Any:
    """What is in the place now."""
    module = held.seen.module()
    if module is None:
        return None
    own = module.__dict__
    return own.get(held.name) if held.kind == "attribute" else own.get(f"_{held.kind}s", {}).get(held.name)


def _first_names(root: nn.Module) -> dict[int, str]:
    """The name by which torch lists each parameter and buffer of a model, by identity."""
    listed = (*root.named_buffers(), *root.named_parameters())
    return {id(tensor): name for name, tensor in reversed(listed)}
