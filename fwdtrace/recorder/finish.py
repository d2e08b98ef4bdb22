"""From what was noted while the model ran to the finished Trace: names, texts, lines, parameters."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fwdtrace.findings import find
from fwdtrace.recorder.describe import Leaves, named_by_parameters, positional_names
from fwdtrace.recorder.frames import Position, name_of_code, site_at
from fwdtrace.recorder.measures.costs import total_flops
from fwdtrace.recorder.measures.gradients import backwards_of, gradients_of
from fwdtrace.recorder.measures.ops import name_of_op
from fwdtrace.recorder.modules import count_parameters
from fwdtrace.recorder.notes import OpenCall, OpenOp, Recorded, SeenModule, log
from fwdtrace.recorder.torch_internals import NO_FORWARD
from fwdtrace.trace import Backward, Call, Hook, ModelInfo, Op, RunInfo, Site, Trace, Uncalled, Versions
from fwdtrace.version import __version__

COMMANDS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "run", "")


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


def finished_trace(recorded: Recorded, surroundings: Surroundings, duration: int) -> Trace:
    """The Trace of one recording; `duration` is in nanoseconds."""
    calls, ops = _Finisher(recorded).calls_and_ops()
    trace = Trace(
        surroundings.versions,
        replace(surroundings.model, parameters=count_parameters(recorded.root)),
        replace(surroundings.run, duration_us=duration / 1000),
        tuple(calls),
        tuple(ops) if recorded.options.ops else None,
        uncalled=_uncalled(recorded, calls),
        gradients=gradients_of(recorded.root) if recorded.options.gradients else None,
    )
    return replace(trace, findings=find(trace))


def _uncalled(recorded: Recorded, calls: list[Call]) -> tuple[Uncalled, ...]:
    """The modules of the tree with parameters of their own that no call is of, though they could be called."""
    called = {call.path for call in calls}
    counts = (
        (path, type(module).__name__, count_parameters(module, recurse=False))
        for path, module in recorded.root.named_modules()
        if path not in called and module._parameters and getattr(type(module), "forward", None) is not NO_FORWARD
    )
    return tuple(Uncalled(path, name, count) for path, name, count in counts if count)


_NOWHERE = (None, 0)


class _Finisher:
    """One pass over the log; what many calls have in common is worked out once and shared."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.common: dict[tuple[Any, ...], _Common] = {}
        self.sites: dict[tuple[int, int], Site] = {}
        self.parameters: dict[int, int] = {}
        self.signatures: dict[type, tuple[tuple[str, ...], str]] = {}
        self.op_names: dict[tuple[int, int, int], str] = {}
        self.chains: dict[Any, tuple[str, ...]] = {}
        self.hooks: dict[tuple[Hook, ...], tuple[Hook, ...]] = {}
        self.flops: dict[OpenCall, int] = {}
        self.backwards: dict[OpenCall, Backward] = {}

    def calls_and_ops(self) -> tuple[list[Call], list[Op]]:
        """Everything that belongs to this recording: the calls of its tree and all that these made."""
        recorded = self.recorded
        kept: list[OpenCall | OpenOp] = []
        for each in log[recorded.start :]:
            above = each.parent if each.parent is not None and each.parent.kept_by is recorded else None
            if not self._belongs(each, above):
                each.kept_by = None
                continue
            each.kept_by = recorded
            each.number = len(kept)
            if type(each) is OpenCall:
                each.depth = above.depth + 1 if above is not None else 0
                each.has_calls = False
                if above is not None:
                    above.has_calls = True
            kept.append(each)
        opened = [each for each in kept if type(each) is OpenCall]
        if recorded.options.costs:
            self.flops = total_flops(opened, lambda call: bool(call.thread) or _is_compiled(call))
        if recorded.options.gradients:
            self.backwards = backwards_of(opened)
        counts: dict[int, int] = {}
        calls, ops = [], []
        for each in kept:
            if type(each) is OpenOp:
                ops.append(self._op(each))
            elif type(each) is OpenCall:
                counts[id(each.seen)] = nth = counts.get(id(each.seen), 0) + 1
                calls.append(self._call(each, nth))
        return calls, ops

    def _belongs(self, each: OpenCall | OpenOp, above: OpenCall | None) -> bool:
        if type(each) is OpenOp:
            return above is not None and self.recorded.options.ops
        if above is not None or type(each) is not OpenCall or self.recorded not in each.seen.places:
            return above is not None
        return each.thread is None or not self.recorded.options.alone

    def _op(self, op: OpenOp) -> Op:
        code, instruction = op.position or _NOWHERE
        key = id(op.function), id(code), instruction
        name = self.op_names.get(key) or self.op_names.setdefault(key, name_of_op(op))
        site = self._site(op.position)
        return Op(op.number, op.parent.number, name, op.inputs, op.outputs, site, op.error, **(op.extra or {}))

    def _call(self, call: OpenCall, nth: int) -> Call:
        seen, above = call.seen, call.parent
        code, instruction = call.position or _NOWHERE
        key = (
            id(seen), id(call.inputs), id(code), instruction, call.entry, id(call.chain), id(call.outer),
            call.has_calls, call.opaque,
        )  # fmt: skip
        common = self.common.get(key) or self.common.setdefault(key, self._common(call))
        return Call(
            call.number,
            above.number if above is not None and above.kept_by is self.recorded else None,
            call.depth,
            common.path,
            common.class_name,
            nth,
            call.entry,
            common.inputs,
            call.outputs,
            common.site,
            common.chain,
            self._hooks(call) if call.hooks else (),
            common.parameters,
            (call.end - call.begin) / 1000 if call.end else None,
            call.error,
            common.aliases,
            common.opaque,
            call.thread,
            **(self._extra(call) if call.extra else {}),
            flops=self.flops.get(call),
            backward=self.backwards.get(call),
        )

    def _extra(self, call: OpenCall) -> dict[str, Any]:
        extra = dict(call.extra or {})
        changed = {run.kind for run in (call.hooks or {}).values() if run.changed}
        if "forward_inputs" in extra:
            extra["forward_inputs"] = named_by_parameters(extra["forward_inputs"], *self._signature(call.seen))
        if not any("forward_pre" in kind for kind in changed):
            extra.pop("forward_inputs", None)
        if all("forward_pre" in kind for kind in changed):
            extra.pop("forward_outputs", None)
        return extra

    def _common(self, call: OpenCall) -> _Common:
        names = call.seen.places.get(self.recorded, ())
        return _Common(
            path=names[0] if names else None,
            aliases=names[1:],
            class_name=call.seen.module_class.__name__,
            inputs=named_by_parameters(call.inputs, *self._signature(call.seen)),
            site=self._site(call.position),
            chain=self._chain(call),
            parameters=self._parameters(call.seen),
            opaque=_opaque(call),
        )

    def _signature(self, seen: SeenModule) -> tuple[tuple[str, ...], str]:
        cls = seen.module_class
        found = self.signatures.get(cls)
        if found is None:
            found = self.signatures[cls] = positional_names(getattr(cls, "forward", None))
        return found

    def _site(self, position: Position | None) -> Site | None:
        # A command calls the model in its user's place: there is no line of theirs to show.
        if position is None or position[0].co_filename.startswith(COMMANDS):
            return None
        key = id(position[0]), position[1]
        return self.sites.get(key) or self.sites.setdefault(key, site_at(position))

    def _chain(self, call: OpenCall) -> tuple[str, ...]:
        if call.chain is None:
            return ()
        key = (*map(id, call.outer), *map(id, call.chain)), call.seen.module_class
        found = self.chains.get(key)
        if found is None:
            names = (*map(name_of_code, (*call.outer, *call.chain)), _forward_name(call.seen.module_class))
            found = self.chains[key] = names
        return found

    def _hooks(self, call: OpenCall) -> tuple[Hook, ...]:
        runs = (call.hooks or {}).values()
        hooks = tuple(Hook(run.kind, run.name, run.fired, run.changed, run.file, run.line) for run in runs)
        return self.hooks.setdefault(hooks, hooks)

    def _parameters(self, seen: SeenModule) -> int:
        found = self.parameters.get(id(seen), seen.parameters)
        if found is None:
            module = seen.module()
            found = self.parameters[id(seen)] = count_parameters(module) if module is not None else 0
        return found


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


def _opaque(call: OpenCall) -> str | None:
    if call.has_calls:
        return None
    if call.seen.is_script:
        return "script"
    return "compiled" if _is_compiled(call) else None


def _is_compiled(call: OpenCall) -> bool:
    cls = call.seen.module_class
    wraps = cls.__module__ == "torch._dynamo.eval_frame" and cls.__name__ == "OptimizedModule"
    return wraps or call.opaque == "compiled"


def _forward_name(cls: type) -> str:
    forward = getattr(cls, "forward", None)
    return getattr(forward, "__qualname__", f"{cls.__name__}.forward")


def _device(model: nn.Module) -> str:
    tensor = next(model.parameters(), None)
    return str(tensor.device) if tensor is not None else "cpu"
