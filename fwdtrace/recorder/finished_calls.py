"""From the notes of what ran to its Calls and Ops; what many of them have in common is worked out once and shared."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from fwdtrace.recorder.describe import name_by_parameters, named_by_parameters, positional_names
from fwdtrace.recorder.drafts import CallDraft, OpDraft
from fwdtrace.recorder.frames import NOWHERE, Position, name_of_code, site_at
from fwdtrace.recorder.measures.costs import Costs
from fwdtrace.recorder.measures.device_time import DeviceTime
from fwdtrace.recorder.measures.finiteness import Finiteness
from fwdtrace.recorder.measures.functions import name_of_op
from fwdtrace.recorder.measures.gradients import Gradients
from fwdtrace.recorder.measures.ops import Ops, takes_numbers_out
from fwdtrace.recorder.measures.peak_memory import PeakMemory
from fwdtrace.recorder.measures.statistics import Statistics
from fwdtrace.recorder.notes import HookRun, Leaves, OpenCall, OpenOp, RareNotes, SeenClass, SeenModule
from fwdtrace.recorder.recorded import Recorded
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.sources import Sources
from fwdtrace.recorder.tree import count_parameters
from fwdtrace.trace import Accelerator, Backward, BetweenHooks, Call, Hook, NonFinite, Op, Site


class _Alike:
    """What the calls of all modules of one class have in common, by the identity of what was noted of them."""

    __slots__ = ("chains", "inputs", "signature")

    def __init__(self, of: SeenClass) -> None:
        self.signature = positional_names(of.forward)
        self.inputs: dict[int, Leaves] = {}
        self.chains: dict[int | tuple[int, int], tuple[str, ...]] = {}


class _OfModule:
    """What all calls of a module share, and how many of them have been made."""

    __slots__ = ("aliases", "alike", "calls", "class_name", "parameters", "path")

    path: str | None
    aliases: tuple[str, ...]
    class_name: str
    parameters: int
    alike: _Alike
    calls: int


class Finisher:
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
        self.ids: dict[Any, int] = {}
        """By the call or op, in order of beginning."""
        self._number(session.log[recorded.start :])
        self.depths: list[int] = []
        """Those of the calls, by their ids; in the place of an op is nothing that is asked for."""
        ops = session.kinds.get(Ops) if recorded.options.ops else None
        self.sources = Sources(ops.flow, recorded, self.ids) if isinstance(ops, Ops) else None
        self.modules: dict[SeenModule, _OfModule] = {}
        self.classes: dict[SeenClass, _Alike] = {}
        self.sites: dict[int, Site] = {}
        self.durations: dict[int, float] = {}  # in microseconds, by nanoseconds: equal ones are one object
        self.op_lines: dict[tuple[int, int], tuple[str, Site | None]] = {}
        self.hooks: dict[tuple[Hook, ...], tuple[Hook, ...]] = {}

    @cached_property
    def callers(self) -> set[OpenCall | None]:
        """The calls that made others."""
        return {note.parent for note in self.ids if type(note) is OpenCall}

    def calls_and_ops(self) -> tuple[list[Call], list[Op]]:
        """The calls and the ops of this recording, both in order of beginning."""
        self._sum_up_measures()
        tables = (self.device_times, self.nonfinite, self.memory, self.flops, self.backwards, self.without_grad)
        self.measured = measured = any(tables)
        calls: list[Call] = []
        ops: list[Op] = []
        ids, lines, sources, with_stats = self.ids, self.op_lines, self.sources, self.with_stats
        depths = self.depths
        for note, number in ids.items():
            if isinstance(note, OpenCall):
                calls.append(self._call(number, note))
                continue
            draft: Any = OpDraft()
            draft.id, draft.parent = number, ids[note.parent]
            line = lines.get((id(note.function), id(note.position)))
            draft.name, draft.site = line if line is not None else self._line(note)
            outputs = with_stats.get(note, note.outputs) if with_stats else note.outputs
            if sources is not None:
                draft.inputs = sources.of_leaves(note.inputs, note.taken)
                draft.outputs = sources.of_made(outputs, note)
            else:
                draft.inputs, draft.outputs = note.inputs, outputs
            draft.error = note.error
            draft.nonfinite = draft.without_grad = None
            if measured:
                draft.nonfinite, draft.without_grad = self.nonfinite.get(note), self.without_grad.get(note)
            draft.__class__ = Op
            ops.append(draft)
            depths.append(0)
        return calls, ops

    def _sum_up_measures(self) -> None:
        """Take from the measures what they can say of a call only when all calls are known."""
        options = self.recorded.options
        costs, gradients, memory = (self.kinds.get(kind) for kind in (Costs, Gradients, PeakMemory))
        if not (options.costs or options.gradients or options.peak_memory):
            return
        opened = [note for note in self.ids if type(note) is OpenCall]
        if options.costs and isinstance(costs, Costs):
            self.flops = costs.totals(opened, lambda call: bool(call.thread) or _is_compiled(call))
        if options.gradients and isinstance(gradients, Gradients):
            self.backwards = gradients.backwards(opened)
        if options.peak_memory and isinstance(memory, PeakMemory):
            self.memory = memory.totals(opened)

    def _number(self, log: list[OpenCall | OpenOp]) -> None:
        """Number everything that belongs to this recording: the calls of its tree and all that these made."""
        ids, names, options = self.ids, self.recorded.names, self.recorded.options
        with_ops, with_numbers_out = options.ops, options.gradients
        for note in log:
            if isinstance(note, OpenCall):
                belongs = note.parent in ids or (note.seen in names and (note.thread is None or not options.alone))
            else:
                belongs = with_ops and note.parent in ids
                if belongs and not (note.error or note.gave() or with_numbers_out):
                    belongs = not takes_numbers_out(note)
            if belongs:
                ids[note] = len(ids)

    def _line(self, op: OpenOp) -> tuple[str, Site | None]:
        """The name of an op and its line, which are the same each time that this line calls this function."""
        site = self.sites.get(id(op.position)) or self._site(op.position)
        line = self.op_lines[id(op.function), id(op.position)] = name_of_op(op.function, op.position), site
        return line

    def _call(self, number: int, call: OpenCall) -> Call:
        seen, rare, sources = call.seen, call.rare, self.sources
        module = self.modules.get(seen) or self._module(seen)
        alike, path = module.alike, module.path
        draft: Any = CallDraft()
        draft.id = number
        above = draft.parent = self.ids.get(call.parent)
        draft.depth = 0 if above is None else self.depths[above] + 1
        self.depths.append(draft.depth)
        draft.path, draft.aliases = path, module.aliases
        draft.class_name, draft.parameters = module.class_name, module.parameters
        draft.nth = module.calls = module.calls + 1
        inputs, outputs, chain = alike.inputs.get(id(call.inputs)), call.outputs, alike.chains.get(id(call.chain))
        draft.entry, draft.in_backward = "__call__", False
        draft.error = draft.opaque = draft.between_hooks = draft.failed_module = None
        draft.nonfinite = draft.flops = draft.backward = draft.accelerator = draft.without_grad = draft.cold_us = None
        if rare is not None:
            draft.entry, draft.error, draft.opaque = rare.entry, rare.error, rare.opaque
            draft.in_backward, draft.failed_module = rare.in_backward, rare.failed_module
            if rare.outer:
                chain = None
            if rare.base_forward is not None:
                inputs = None
        if draft.opaque is not None or seen.of.may_be_opaque:
            draft.opaque = self._opaque(call)
        if inputs is None:
            inputs = self._inputs(call, alike)
        if self.with_stats:
            outputs = self.with_stats.get(call, outputs)
        if sources is not None:
            if path == "":
                sources.name_arguments(call, inputs)
            inputs = sources.of_leaves(inputs, getattr(call, "taken", ()))
            outputs = sources.of_leaves(outputs, getattr(call, "given", ()))
        draft.inputs, draft.outputs = inputs, outputs
        draft.chain = self._chain(call, alike) if chain is None else chain
        draft.site = self.sites.get(id(call.position)) or self._site(call.position)
        draft.hooks = self._hooks(call) if call.hooks else ()
        if call.begin and call.end:
            took = call.end - call.begin
            draft.duration_us = self.durations.setdefault(took, took / 1000)
        else:
            draft.duration_us = None
        draft.thread = call.thread
        if self.measured:
            self._add_measured(draft, call, alike)
        if rare is not None:
            draft.between_hooks = self._between_hooks(call, rare, alike)
        draft.__class__ = Call
        return draft  # type: ignore[no-any-return]

    def _add_measured(self, draft: Any, call: OpenCall, alike: _Alike) -> None:
        """What was measured beside the call, if anything was."""
        host_us, memory_bytes = None, self.memory.get(call)
        if call in self.device_times:
            host_us, draft.duration_us = draft.duration_us, self.device_times[call]
        if host_us is not None or memory_bytes is not None:
            draft.accelerator = Accelerator(host_us, memory_bytes)
        wrong = self.nonfinite.get(call)
        if wrong is not None and (wrong.operands or wrong.spoiled_inputs):
            signature = _signature(call, alike)
            inputs = tuple(name_by_parameters(name, *signature) for name in wrong.spoiled_inputs)
            operands = named_by_parameters(wrong.operands, *signature)
            wrong = replace(wrong, operands=operands, spoiled_inputs=inputs)
        draft.nonfinite, draft.flops, draft.backward = wrong, self.flops.get(call), self.backwards.get(call)
        draft.without_grad = self.without_grad.get(call)

    def _between_hooks(self, call: OpenCall, rare: RareNotes, alike: _Alike) -> BetweenHooks | None:
        """What `forward` itself was given and gave, as far as hooks changed it."""
        inputs, outputs = rare.forward_inputs, rare.forward_outputs
        if inputs is None:
            return None
        changed = {run.kind for run in (call.hooks or {}).values() if run.changed}
        if not changed:
            return None
        inputs = named_by_parameters(inputs, *_signature(call, alike))
        if self.sources is not None:
            inputs, given = self.sources.of_forward(call, inputs, outputs or ())
            outputs = given if outputs is not None else None
        before = ["forward_pre" in kind for kind in changed]
        found = BetweenHooks(inputs if any(before) else None, outputs if not all(before) else None)
        return found if found != BetweenHooks() else None

    def _module(self, seen: SeenModule) -> _OfModule:
        of, parameters = seen.of, self.counts.get(seen.key)
        alike = self.classes.get(of) or self.classes.setdefault(of, _Alike(of))
        if parameters is None:
            parameters = self._parameters(seen)
        names = self.recorded.names.get(seen)
        module = self.modules[seen] = _OfModule()
        module.path, module.aliases = (names[0], names[1:]) if names else (None, ())
        module.class_name, module.parameters = of.module_class.__name__, parameters
        module.alike, module.calls = alike, 0
        return module

    def _inputs(self, call: OpenCall, alike: _Alike) -> Leaves:
        inputs = named_by_parameters(call.inputs, *_signature(call, alike))
        if call.rare is None or call.rare.base_forward is None:
            alike.inputs[id(call.inputs)] = inputs
        return inputs

    def _site(self, position: Position) -> Site | None:
        if position is NOWHERE:
            return None
        site = self.sites[id(position)] = site_at(position)
        return site

    def _chain(self, call: OpenCall, alike: _Alike) -> tuple[str, ...]:
        if call.chain is None:
            return ()
        outer = call.rare.outer if call.rare is not None else ()
        key = id(outer), id(call.chain)
        chain = alike.chains.get(key)
        if chain is None:
            names = map(name_of_code, (*outer, *call.chain))
            chain = alike.chains[key] = (*names, _forward_name(call.seen.of.module_class))
            if not outer:
                alike.chains[id(call.chain)] = chain
        return chain

    def _hooks(self, call: OpenCall) -> tuple[Hook, ...]:
        hooks = hooks_of(call.hooks or {})
        return self.hooks.setdefault(hooks, hooks)

    def _parameters(self, seen: SeenModule) -> int:
        """The elements of the parameters of a module that has been taken out of the tree, or never was in it."""
        if seen.parameters is not None:
            return seen.parameters
        module = seen.module()
        return count_parameters(module) if module is not None else 0

    def _opaque(self, call: OpenCall) -> str | None:
        if call in self.callers:
            return None
        if call.seen.of.is_script:
            return "script"
        return "compiled" if _is_compiled(call) else None


def hooks_of(runs: dict[Any, HookRun]) -> tuple[Hook, ...]:
    """What a trace says of hooks that were registered."""
    return tuple(Hook(run.kind, run.name, run.fired, run.changed, run.file, run.line) for run in runs.values())


def _signature(call: OpenCall, alike: _Alike) -> tuple[tuple[str, ...], str]:
    """The names of the parameters of the forward that ran, which may be that of a base class."""
    base = call.rare.base_forward if call.rare is not None else None
    return alike.signature if base is None else positional_names(base)


def _is_compiled(call: OpenCall) -> bool:
    return call.seen.of.wraps_compiled or (call.rare is not None and call.rare.opaque == "compiled")


def _forward_name(cls: type) -> str:
    forward = getattr(cls, "forward", None)
    return getattr(forward, "__qualname__", f"{cls.__name__}.forward")
