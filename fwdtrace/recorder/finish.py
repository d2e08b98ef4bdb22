"""From what was noted while the model ran to the finished Trace: names, texts, lines, parameters."""

from __future__ import annotations

import os
import platform
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fwdtrace.findings import find
from fwdtrace.recorder.describe import named_by_parameters, positional_names
from fwdtrace.recorder.frames import NOWHERE, Position, name_of_code, site_at
from fwdtrace.recorder.measures.costs import Costs
from fwdtrace.recorder.measures.device_time import DeviceTime
from fwdtrace.recorder.measures.finiteness import Finiteness
from fwdtrace.recorder.measures.gradients import Gradients, gradients_of
from fwdtrace.recorder.measures.ops import Ops, name_of_op
from fwdtrace.recorder.measures.peak_memory import PeakMemory
from fwdtrace.recorder.measures.statistics import Statistics
from fwdtrace.recorder.notes import Leaves, OpenCall, OpenOp, Recorded, SeenModule
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.sources import Sources
from fwdtrace.recorder.torch_internals import NO_FORWARD
from fwdtrace.recorder.tree import (
    count_parameters,
    counts_of_parameters,
    first_parameter,
    modules_and_names,
    own_parameters,
)
from fwdtrace.trace import Backward, Call, Hook, ModelInfo, NonFinite, Op, RunInfo, Site, Trace, Uncalled, Versions
from fwdtrace.version import __version__


@dataclass(frozen=True)
class Surroundings:
    """What is known before the model runs and may have changed when it has run."""

    versions: Versions
    model: ModelInfo
    run: RunInfo


def surroundings_of(model: nn.Module, spec: str | None, seed: int | None) -> Surroundings:
    """The model's class, mode and device, and the versions at work."""
    cls = type(model)
    rank = os.environ.get("RANK")
    return Surroundings(
        Versions(__version__, str(torch.__version__).partition("+")[0], platform.python_version()),
        ModelInfo(spec, f"{cls.__module__}.{cls.__qualname__}", model.training, 0),
        RunInfo(_device(model), torch.is_grad_enabled(), seed, int(rank) if rank else None, 0.0),
    )


def finished_trace(session: Session, recorded: Recorded, surroundings: Surroundings, duration: int) -> Trace:
    """The Trace of one recording; `duration` is in nanoseconds."""
    counts = counts_of_parameters(recorded.root)
    finisher = _Finisher(session, recorded, counts)
    calls, ops = finisher.calls_and_ops()
    if recorded.options.keeper is not None:
        recorded.options.keeper.number(finisher.ids)
    trace = Trace(
        surroundings.versions,
        replace(surroundings.model, parameters=counts[id(recorded.root)]),
        replace(surroundings.run, duration_us=duration / 1000, call=recorded.call),
        tuple(calls),
        tuple(ops) if recorded.options.ops else None,
        uncalled=_uncalled(recorded, counts.keys(), finisher.notes, calls),
        gradients=gradients_of(recorded.root) if recorded.options.gradients else None,
    )
    made = finisher.sources.made() if finisher.sources is not None else ()
    recorded.earlier.remember(recorded.call, len(trace.at("")), recorded.first_id, made)
    return replace(trace, findings=find(trace))


def _uncalled(
    recorded: Recorded, modules: Set[int], notes: list[OpenCall | OpenOp], calls: list[Call]
) -> tuple[Uncalled, ...]:
    """The modules of the tree with parameters of their own that no call is of, though they could be called."""
    if modules <= {note.seen.key for note in notes if type(note) is OpenCall}:
        return ()
    called = {call.path for call in calls}
    return tuple(
        Uncalled(names[0], type(module).__name__, count)
        for module, names in modules_and_names(recorded.root)
        if module._parameters
        and names[0] not in called
        and getattr(type(module), "forward", None) is not NO_FORWARD
        and (count := sum(parameter.numel() for parameter in own_parameters(module)))
    )


class _Draft:
    """A Call that is being filled in. To set the fields of a frozen one in its constructor takes ten times as long."""

    __slots__ = Call.__slots__


class _Finisher:
    """One pass over the log, with tables of its own; what many calls have in common is worked out once and shared."""

    def __init__(self, session: Session, recorded: Recorded, counts: dict[int, int]) -> None:
        self.recorded = recorded
        self.kinds = session.kinds
        self.counts = counts
        statistics, finiteness = session.kinds.get(Statistics), session.kinds.get(Finiteness)
        self.with_stats: dict[OpenCall | OpenOp, Leaves] = {}
        if recorded.options.stats and isinstance(statistics, Statistics):
            self.with_stats = statistics.outputs
        self.nonfinite: dict[OpenCall | OpenOp, NonFinite] = {}
        if recorded.options.check_finite and isinstance(finiteness, Finiteness):
            self.nonfinite = finiteness.found
        device_time = session.kinds.get(DeviceTime)
        self.device_times = device_time.times() if isinstance(device_time, DeviceTime) else {}
        self.memory: dict[OpenCall, int] = {}
        self.ids: dict[OpenCall | OpenOp, int] = {}
        self.depths: dict[OpenCall, int] = {}
        self.callers: set[OpenCall] = set()
        self.notes = self._own_notes(session.log[recorded.start :])
        ops = session.kinds.get(Ops) if recorded.options.ops else None
        self.sources = Sources(ops.flow, recorded, self.ids) if isinstance(ops, Ops) else None
        self.common: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.inputs: dict[tuple[int, int], Leaves] = {}
        self.sites: dict[tuple[int, int], Site] = {}
        self.op_names: dict[tuple[int, int, int], str] = {}
        self.signatures: dict[Any, tuple[tuple[str, ...], str]] = {}
        self.chains: dict[Any, tuple[str, ...]] = {}
        self.hooks: dict[tuple[Hook, ...], tuple[Hook, ...]] = {}

    def calls_and_ops(self) -> tuple[list[Call], list[Op]]:
        """The calls and the ops of this recording, both in order of beginning."""
        opened = [note for note in self.notes if type(note) is OpenCall]
        options = self.recorded.options
        costs, gradients = self.kinds.get(Costs), self.kinds.get(Gradients)
        flops: dict[OpenCall, int] = {}
        backwards: dict[OpenCall, Backward] = {}
        if options.costs and isinstance(costs, Costs):
            flops = costs.totals(opened, lambda call: bool(call.thread) or _is_compiled(call))
        if options.gradients and isinstance(gradients, Gradients):
            backwards = gradients.backwards(opened)
        memory = self.kinds.get(PeakMemory)
        if options.peak_memory and isinstance(memory, PeakMemory):
            self.memory = memory.totals(opened)
        nths: dict[SeenModule, int] = {}
        calls, ops = [], []
        for note in self.notes:
            if type(note) is OpenOp:
                ops.append(self._op(note))
            elif type(note) is OpenCall:
                nths[note.seen] = nth = nths.get(note.seen, 0) + 1
                calls.append(self._call(note, nth, flops.get(note), backwards.get(note)))
        return calls, ops

    def _op(self, op: OpenOp) -> Op:
        code, instruction = op.position
        key = id(op.function), id(code), instruction
        name = self.op_names.get(key) or self.op_names.setdefault(key, name_of_op(op))
        inputs, outputs = op.inputs, self.with_stats.get(op, op.outputs)
        if self.sources is not None:
            inputs, outputs = self.sources.of_op(op, outputs)
        site, number, parent = self._site(op.position), self.ids[op], self.ids[op.parent]
        return Op(number, parent, name, inputs, outputs, site, op.error, self.nonfinite.get(op))

    def _own_notes(self, log: list[OpenCall | OpenOp]) -> list[OpenCall | OpenOp]:
        """Number everything that belongs to this recording: the calls of its tree and all that these made."""
        names, options = self.recorded.names, self.recorded.options
        ids, depths = self.ids, self.depths
        own: list[OpenCall | OpenOp] = []
        for note in log:
            parent = note.parent
            if parent is not None and parent in depths:
                if type(note) is OpenCall:
                    depths[note] = depths[parent] + 1
                    self.callers.add(parent)
                elif not options.ops:
                    continue
            elif type(note) is OpenCall and note.seen in names and (note.thread is None or not options.alone):
                depths[note] = 0
            else:
                continue
            ids[note] = len(own)
            own.append(note)
        return own

    def _call(self, call: OpenCall, nth: int, flops: int | None, backward: Backward | None) -> Call:
        above = call.parent
        code, instruction = call.position
        key = (
            call.seen, id(call.inputs), id(code), instruction, call.entry, id(call.chain), id(call.outer),
            call in self.callers, call.opaque, call.base_forward,
        )  # fmt: skip
        common = self.common.get(key) or self.common.setdefault(key, self._common(call))
        draft: Any = _Draft()
        draft.id = self.ids[call]
        draft.parent = self.ids.get(above) if above is not None else None
        draft.depth = self.depths[call]
        draft.nth = nth
        draft.entry = call.entry
        (
            *(draft.path, draft.aliases, draft.class_name, draft.inputs, draft.site, draft.chain, draft.parameters),
            draft.opaque,
        ) = common
        draft.outputs = self.with_stats.get(call, call.outputs)
        if self.sources is not None:
            draft.inputs, draft.outputs = self.sources.of_call(call, draft.inputs, draft.outputs)
        draft.hooks = self._hooks(call) if call.hooks else ()
        draft.duration_us = (call.end - call.begin) / 1000 if call.begin and call.end else None
        draft.host_us = None
        if call in self.device_times:
            draft.host_us, draft.duration_us = draft.duration_us, self.device_times[call]
        draft.memory_bytes = self.memory.get(call)
        draft.error = call.error
        draft.thread = call.thread
        draft.in_backward = call.in_backward
        draft.forward_inputs = draft.forward_outputs = draft.settings = None
        draft.state = ()
        if call.extra:
            for name, value in self._extra(call).items():
                setattr(draft, name, value)
        draft.nonfinite = self.nonfinite.get(call)
        draft.flops = flops
        draft.backward = backward
        draft.__class__ = Call
        return draft  # type: ignore[no-any-return]

    def _extra(self, call: OpenCall) -> dict[str, Any]:
        extra = dict(call.extra or {})
        changed = {run.kind for run in (call.hooks or {}).values() if run.changed}
        if "forward_inputs" in extra:
            extra["forward_inputs"] = named_by_parameters(extra["forward_inputs"], *self._signature(call))
            if self.sources is not None:
                between = extra["forward_inputs"], extra.get("forward_outputs", ())
                extra["forward_inputs"], extra["forward_outputs"] = self.sources.of_forward(call, *between)
        if not any("forward_pre" in kind for kind in changed):
            extra.pop("forward_inputs", None)
        if all("forward_pre" in kind for kind in changed):
            extra.pop("forward_outputs", None)
        return extra

    def _common(self, call: OpenCall) -> tuple[Any, ...]:
        """What calls of one module from one line with the same shapes share: path to parameters, and `opaque`."""
        names = self.recorded.names.get(call.seen, ())
        return (
            names[0] if names else None,
            names[1:],
            call.seen.of.module_class.__name__,
            self._inputs(call),
            self._site(call.position),
            self._chain(call),
            self._parameters(call.seen),
            self._opaque(call),
        )

    def _inputs(self, call: OpenCall) -> Leaves:
        key = id(call.inputs), id(call.base_forward or call.seen.of)
        inputs = self.inputs.get(key)
        if inputs is None:
            inputs = self.inputs[key] = named_by_parameters(call.inputs, *self._signature(call))
        return inputs

    def _signature(self, call: OpenCall) -> tuple[tuple[str, ...], str]:
        forward = call.base_forward or call.seen.of.forward
        key = id(forward)
        signature = self.signatures.get(key)
        if signature is None:
            signature = self.signatures[key] = positional_names(forward)
        return signature

    def _site(self, position: Position) -> Site | None:
        if position is NOWHERE:
            return None
        key = id(position[0]), position[1]
        return self.sites.get(key) or self.sites.setdefault(key, site_at(position))

    def _chain(self, call: OpenCall) -> tuple[str, ...]:
        if call.chain is None:
            return ()
        key = call.outer, id(call.chain), call.seen.of
        chain = self.chains.get(key)
        if chain is None:
            names = map(name_of_code, (*call.outer, *call.chain))
            chain = self.chains[key] = (*names, _forward_name(call.seen.of.module_class))
        return chain

    def _hooks(self, call: OpenCall) -> tuple[Hook, ...]:
        runs = (call.hooks or {}).values()
        hooks = tuple(Hook(run.kind, run.name, run.fired, run.changed, run.file, run.line) for run in runs)
        return self.hooks.setdefault(hooks, hooks)

    def _parameters(self, seen: SeenModule) -> int:
        count = self.counts.get(seen.key)
        if count is not None:
            return count
        if seen.parameters is not None:
            return seen.parameters
        module = seen.module()  # it has been taken out of the tree
        return count_parameters(module) if module is not None else 0

    def _opaque(self, call: OpenCall) -> str | None:
        if call in self.callers:
            return None
        if call.seen.of.is_script:
            return "script"
        return "compiled" if _is_compiled(call) else None


@dataclass(frozen=True, slots=True)
class _Common:
    """What calls of one module from one line with the same shapes share."""

    path: str | None
    aliases: tuple[str, ...]
    class_name: str
    inputs: Leaves
    site: Site | None
    chain: tuple[str, ...]
    parameters: int
    opaque: str | None


def _is_compiled(call: OpenCall) -> bool:
    return call.seen.of.wraps_compiled or call.opaque == "compiled"


def _forward_name(cls: type) -> str:
    forward = getattr(cls, "forward", None)
    return getattr(forward, "__qualname__", f"{cls.__name__}.forward")


def _device(model: nn.Module) -> str:
    tensor = first_parameter(model)
    return str(tensor.device) if tensor is not None else "cpu"
