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
from fwdtrace.recorder.hooks import list_hooks
from fwdtrace.recorder.measures.costs import Costs
from fwdtrace.recorder.measures.device_time import DeviceTime
from fwdtrace.recorder.measures.finiteness import Finiteness
from fwdtrace.recorder.measures.gradients import Gradients, gradients_of
from fwdtrace.recorder.measures.ops import Ops, name_of_op, takes_numbers_out
from fwdtrace.recorder.measures.peak_memory import PeakMemory
from fwdtrace.recorder.measures.statistics import Statistics
from fwdtrace.recorder.notes import NOTHING_RARE, HookRun, Leaves, OpenCall, OpenOp, RareNotes, Recorded, SeenModule
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.sources import Sources
from fwdtrace.recorder.torch_internals import NO_FORWARD
from fwdtrace.recorder.tree import (
    count_parameters,
    counts_of_parameters,
    first_parameter,
    modules_and_names,
    own_parameters,
    sizes_of,
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


def finished_trace(
    session: Session,
    recorded: Recorded,
    surroundings: Surroundings,
    duration: int,
    error: BaseException | None = None,
) -> Trace:
    """The Trace of one recording; `duration` is in nanoseconds, `error` what ended it if something raised."""
    counts = counts_of_parameters(recorded.root)
    trainable, parameter_bytes, buffer_bytes = sizes_of(recorded.root)
    finisher = _Finisher(session, recorded, counts)
    calls, ops = finisher.calls_and_ops()
    if recorded.options.keeper is not None:
        recorded.options.keeper.number(finisher.ids)
    trace = Trace(
        surroundings.versions,
        replace(
            surroundings.model,
            parameters=counts[id(recorded.root)],
            trainable=trainable,
            parameter_bytes=parameter_bytes,
            buffer_bytes=buffer_bytes,
        ),
        replace(surroundings.run, duration_us=duration / 1000, call=recorded.call),
        tuple(calls),
        tuple(ops) if recorded.options.ops else None,
        uncalled=_uncalled(recorded, counts.keys(), finisher.notes, calls),
    )
    made = finisher.sources.made() if finisher.sources is not None else ()
    recorded.earlier.remember(recorded.call, len(trace.at("")), recorded.first_id, made)
    measure = session.kinds.get(Gradients)
    if recorded.options.gradients and isinstance(measure, Gradients):
        gradients = gradients_of(recorded.root)
        errors = measure.errors(recorded.root, finisher.ids, error)
        faults = measure.faults(recorded.root, gradients, finisher.ids) if not errors else ()
        trace = replace(trace, gradients=gradients, gradient_faults=faults, backward_errors=errors)
    return replace(trace, findings=find(trace))


def _uncalled(
    recorded: Recorded, modules: Set[int], notes: list[OpenCall | OpenOp], calls: list[Call]
) -> tuple[Uncalled, ...]:
    """The modules of the tree with parameters of their own that no call is of, though they could be called."""
    if modules <= {note.seen.key for note in notes if type(note) is OpenCall}:
        return ()
    called = {call.path for call in calls}
    return tuple(
        Uncalled(names[0], type(module).__name__, count, _hooks_of(list_hooks(module, with_own_forward=True)))
        for module, names in modules_and_names(recorded.root)
        if module._parameters
        and names[0] not in called
        and getattr(type(module), "forward", None) is not NO_FORWARD
        and (count := sum(parameter.numel() for parameter in own_parameters(module)))
    )


def _hooks_of(runs: dict[Any, HookRun]) -> tuple[Hook, ...]:
    return tuple(Hook(run.kind, run.name, run.fired, run.changed, run.file, run.line) for run in runs.values())


class _Draft:
    """A Call that is being filled in. To set the fields of a frozen one in its constructor takes ten times as long."""

    __slots__ = Call.__slots__


class _OpDraft:
    """An Op that is being filled in, for the same reason."""

    __slots__ = Op.__slots__


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
        gradients = session.kinds.get(Gradients)
        wanted = gradients if recorded.options.gradients else None
        self.without_grad = wanted.without_grad if isinstance(wanted, Gradients) else {}
        device_time = session.kinds.get(DeviceTime)
        self.device_times = device_time.times() if isinstance(device_time, DeviceTime) else {}
        self.memory: dict[OpenCall, int] = {}
        self.flops: dict[OpenCall, int] = {}
        self.backwards: dict[OpenCall, Backward] = {}
        self.ids: dict[OpenCall | OpenOp, int] = {}
        self.parents: list[int | None] = []
        self.depths: list[int] = []
        self.callers: set[int] = set()
        self.notes = self._own_notes(session.log[recorded.start :])
        ops = session.kinds.get(Ops) if recorded.options.ops else None
        self.sources = Sources(ops.flow, recorded, self.ids) if isinstance(ops, Ops) else None
        self.modules: dict[SeenModule, tuple[str | None, tuple[str, ...], str, int]] = {}
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
        if options.costs and isinstance(costs, Costs):
            self.flops = costs.totals(opened, lambda call: bool(call.thread) or _is_compiled(call))
        if options.gradients and isinstance(gradients, Gradients):
            self.backwards = gradients.backwards(opened)
        memory = self.kinds.get(PeakMemory)
        if options.peak_memory and isinstance(memory, PeakMemory):
            self.memory = memory.totals(opened)
        nths: dict[SeenModule, int] = {}
        calls, ops = [], []
        for number, note in enumerate(self.notes):
            if type(note) is OpenOp:
                ops.append(self._op(number, note))
            elif type(note) is OpenCall:
                nths[note.seen] = nth = nths.get(note.seen, 0) + 1
                calls.append(self._call(number, note, nth))
        return calls, ops

    def _own_notes(self, log: list[OpenCall | OpenOp]) -> list[OpenCall | OpenOp]:
        """Number everything that belongs to this recording: the calls of its tree and all that these made."""
        names, options = self.recorded.names, self.recorded.options
        ids, parents, depths, callers = self.ids, self.parents, self.depths, self.callers
        own: list[OpenCall | OpenOp] = []
        for note in log:
            above = ids.get(note.parent) if note.parent is not None else None
            if above is not None:
                if type(note) is OpenCall:
                    callers.add(above)
                elif not options.ops or (not options.gradients and takes_numbers_out(note)):
                    continue
                depths.append(depths[above] + 1)
            elif type(note) is OpenCall and note.seen in names and (note.thread is None or not options.alone):
                depths.append(0)
            else:
                continue
            parents.append(above)
            ids[note] = len(own)
            own.append(note)
        return own

    def _op(self, number: int, op: OpenOp) -> Op:
        code, instruction = op.position
        key = id(op.function), id(code), instruction
        draft: Any = _OpDraft()
        draft.id, draft.parent = number, self.parents[number]
        draft.name = self.op_names.get(key) or self.op_names.setdefault(key, name_of_op(op))
        draft.inputs, draft.outputs = op.inputs, self.with_stats.get(op, op.outputs)
        if self.sources is not None:
            draft.inputs, draft.outputs = self.sources.of_op(op, draft.outputs)
        draft.site, draft.error, draft.nonfinite = self._site(op.position), op.error, self.nonfinite.get(op)
        draft.without_grad = self.without_grad.get(op)
        draft.__class__ = Op
        return draft  # type: ignore[no-any-return]

    def _call(self, number: int, call: OpenCall, nth: int) -> Call:
        seen, rare = call.seen, call.rare or NOTHING_RARE
        draft: Any = _Draft()
        draft.id, draft.parent, draft.depth, draft.nth = number, self.parents[number], self.depths[number], nth
        draft.path, draft.aliases, draft.class_name, draft.parameters = self.modules.get(seen) or self._module(seen)
        draft.inputs, draft.outputs = self._inputs(call, rare), self.with_stats.get(call, call.outputs)
        if self.sources is not None:
            draft.inputs, draft.outputs = self.sources.of_call(call, draft.inputs, draft.outputs)
        draft.site, draft.chain = self._site(call.position), self._chain(call, rare)
        draft.hooks = self._hooks(call) if call.hooks else ()
        draft.opaque = self._opaque(number, call) if rare.opaque or seen.of.may_be_opaque else None
        draft.duration_us = (call.end - call.begin) / 1000 if call.begin and call.end else None
        draft.host_us = None
        if call in self.device_times:
            draft.host_us, draft.duration_us = draft.duration_us, self.device_times[call]
        draft.entry, draft.error, draft.thread, draft.in_backward = (
            rare.entry,
            rare.error,
            call.thread,
            rare.in_backward,
        )
        draft.forward_inputs = draft.forward_outputs = draft.settings = None
        draft.state = ()
        if rare.extra:
            for name, value in self._extra(call, rare).items():
                setattr(draft, name, value)
        draft.nonfinite, draft.memory_bytes = self._nonfinite(call, rare), self.memory.get(call)
        draft.flops, draft.backward = self.flops.get(call), self.backwards.get(call)
        draft.without_grad = self.without_grad.get(call)
        draft.__class__ = Call
        return draft  # type: ignore[no-any-return]

    def _nonfinite(self, call: OpenCall, rare: RareNotes) -> NonFinite | None:
        wrong = self.nonfinite.get(call)
        if wrong is None or not wrong.operands:
            return wrong
        return replace(wrong, operands=named_by_parameters(wrong.operands, *self._signature(call, rare)))

    def _extra(self, call: OpenCall, rare: RareNotes) -> dict[str, Any]:
        extra = dict(rare.extra)
        changed = {run.kind for run in (call.hooks or {}).values() if run.changed}
        if "forward_inputs" in extra:
            extra["forward_inputs"] = named_by_parameters(extra["forward_inputs"], *self._signature(call, rare))
            if self.sources is not None:
                between = extra["forward_inputs"], extra.get("forward_outputs", ())
                extra["forward_inputs"], extra["forward_outputs"] = self.sources.of_forward(call, *between)
        if not any("forward_pre" in kind for kind in changed):
            extra.pop("forward_inputs", None)
        if all("forward_pre" in kind for kind in changed):
            extra.pop("forward_outputs", None)
        return extra

    def _module(self, seen: SeenModule) -> tuple[str | None, tuple[str, ...], str, int]:
        """What all calls of a module share: its path and aliases, its class, how many parameters it has."""
        names = self.recorded.names.get(seen, ())
        parameters = self._parameters(seen)
        known = names[0] if names else None, names[1:], seen.of.module_class.__name__, parameters
        self.modules[seen] = known
        return known

    def _inputs(self, call: OpenCall, rare: RareNotes) -> Leaves:
        key = id(call.inputs), id(rare.base_forward or call.seen.of)
        inputs = self.inputs.get(key)
        if inputs is None:
            inputs = self.inputs[key] = named_by_parameters(call.inputs, *self._signature(call, rare))
        return inputs

    def _signature(self, call: OpenCall, rare: RareNotes) -> tuple[tuple[str, ...], str]:
        forward = rare.base_forward or call.seen.of.forward
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

    def _chain(self, call: OpenCall, rare: RareNotes) -> tuple[str, ...]:
        if call.chain is None:
            return ()
        key = id(rare.outer), id(call.chain), id(call.seen.of)
        chain = self.chains.get(key)
        if chain is None:
            names = map(name_of_code, (*rare.outer, *call.chain))
            chain = self.chains[key] = (*names, _forward_name(call.seen.of.module_class))
        return chain

    def _hooks(self, call: OpenCall) -> tuple[Hook, ...]:
        hooks = _hooks_of(call.hooks or {})
        return self.hooks.setdefault(hooks, hooks)

    def _parameters(self, seen: SeenModule) -> int:
        count = self.counts.get(seen.key)
        if count is not None:
            return count
        if seen.parameters is not None:
            return seen.parameters
        module = seen.module()  # it has been taken out of the tree
        return count_parameters(module) if module is not None else 0

    def _opaque(self, number: int, call: OpenCall) -> str | None:
        if number in self.callers:
            return None
        if call.seen.of.is_script:
            return "script"
        return "compiled" if _is_compiled(call) else None


def _is_compiled(call: OpenCall) -> bool:
    return call.seen.of.wraps_compiled or (call.rare is not None and call.rare.opaque == "compiled")


def _forward_name(cls: type) -> str:
    forward = getattr(cls, "forward", None)
    return getattr(forward, "__qualname__", f"{cls.__name__}.forward")


def _device(model: nn.Module) -> str:
    tensor = first_parameter(model)
    return str(tensor.device) if tensor is not None else "cpu"
