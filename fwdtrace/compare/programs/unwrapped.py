"""A trace without what only wraps a model or runs it again, so that it has the calls and names of the plain model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from fwdtrace.compare.programs.saved_step import SavedStep
from fwdtrace.trace import Call, Leaf, TensorMeta, Trace

T = TypeVar("T")

WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
}
"""Classes that hold one module and give what it gives, and under which name they hold it."""

EXPECTED_OF_COMPILED = frozenset(
    {"missing", "added", "ops", "hooks", "entry", "chain", "seen inside", "not run", "class", "backward"}
)
"""The kinds of difference that a compiled model brings with it, beside one that is not."""


class Unwrapped:
    """What becomes of the names in a trace whose wrappers are taken off."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace = without_recomputed(trace)
        self._wrapped = {
            call.path: WRAPPERS[call.class_name]
            for call in trace.calls
            if call.class_name in WRAPPERS and call.path is not None
        }

    def name(self, name: str) -> str:
        """The name of a module, parameter or buffer without the wrappers on its way."""
        parts: list[str] = []
        path = ""
        for part in name.split("."):
            if self._wrapped.get(path) != part and part not in ("_orig_mod", "_fsdp_wrapped_module"):
                parts.append(part)
            path = f"{path}.{part}" if path else part
        return ".".join(parts)

    def trace(self) -> Trace:
        """The trace without the calls of wrappers that another call stands below."""
        if not self._wrapped:
            return self._trace
        trace = self._trace
        inner = {
            call.id: child
            for call in trace.calls
            if call.path in self._wrapped
            for child in trace.children(call)
            if child.path is not None and self.name(child.path) == self.name(call.path)
        }
        parents: dict[int | None, int | None] = {None: None}
        parents.update((call.id, call.id) for call in trace.calls)
        depths: dict[int | None, int] = {None: -1}
        calls = []
        for call in trace.calls:
            parent = parents[call.parent]
            if call.id in inner:
                parents[call.id], depths[call.id] = parent, depths[parent]
                continue
            depths[call.id] = depths[parent] + 1
            calls.append(self._call(call, parent, depths[call.id]))
        first = next((child for call, child in inner.items() if trace.call(call).parent is None), None)
        class_name = first.class_name if first is not None else trace.model.class_name
        return replace(
            trace,
            model=replace(trace.model, class_name=class_name),
            calls=tuple(calls),
            ops=tuple(replace(op, parent=parents[op.parent]) for op in trace.ops) if trace.ops is not None else None,
            uncalled=tuple(replace(each, path=self.name(each.path)) for each in trace.uncalled),
            gradients=tuple(replace(each, name=self.name(each.name)) for each in trace.gradients)
            if trace.gradients is not None
            else None,
            findings=(),
        )

    def step(self, step: SavedStep) -> SavedStep:
        """What was saved of the step, by the names without wrappers."""
        return SavedStep(step.backward, self._renamed(step.state), self._renamed(step.gradients))

    def _renamed(self, values: Mapping[str, T]) -> dict[str, T]:
        return {self.name(name): value for name, value in values.items()}

    def _call(self, call: Call, parent: int | None, depth: int) -> Call:
        path = self.name(call.path) if call.path is not None else None
        inputs, outputs = self._leaves(call.inputs), self._leaves(call.outputs)
        return replace(call, parent=parent, depth=depth, path=path, inputs=inputs, outputs=outputs)

    def _leaves(self, leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
        return tuple(self._leaf(leaf) if type(leaf) is TensorMeta else leaf for leaf in leaves)

    def _leaf(self, leaf: TensorMeta) -> TensorMeta:
        source = leaf.source
        if source is None or source.parameter is source.buffer is None:
            return leaf
        parameter, buffer = (name and self.name(name) for name in (source.parameter, source.buffer))
        return replace(leaf, source=replace(source, parameter=parameter, buffer=buffer))


def without_recomputed(trace: Trace) -> Trace:
    """The trace without what backward computed once more, as activation checkpointing does, which gives the same."""
    outermost = [call for call in trace.calls if call.in_backward and call.parent is None]
    again = {id for call in outermost for id in range(call.id, trace.end(call) + 1)}
    if not again:
        return trace
    ops = tuple(op for op in trace.ops if op.id not in again) if trace.ops is not None else None
    return replace(trace, calls=tuple(call for call in trace.calls if call.id not in again), ops=ops)


def is_compiled(trace: Trace) -> bool:
    """Whether something in the model was compiled."""
    return any(call.opaque == "compiled" or call.class_name == "OptimizedModule" for call in trace.calls)
