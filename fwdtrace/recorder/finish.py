"""From what was noted while the model ran to the finished Trace: names, texts, lines, parameters."""

from __future__ import annotations

import inspect
import os
import platform
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fwdtrace import __version__
from fwdtrace.findings import find
from fwdtrace.recorder.frames import Position, name_of_code, site_at
from fwdtrace.recorder.leaves import Leaves, named_by_parameters
from fwdtrace.recorder.open_calls import OpenCall, Recorded, SeenModule, log
from fwdtrace.trace import Call, Hook, ModelInfo, RunInfo, Site, Trace, Versions


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
    calls = _Finisher(recorded).calls()
    trace = Trace(
        surroundings.versions,
        replace(surroundings.model, parameters=_parameters(recorded.root)),
        replace(surroundings.run, duration_us=duration / 1000),
        tuple(calls),
    )
    return replace(trace, findings=find(trace))


class _Finisher:
    """One pass over the log; what many calls have in common is worked out once and shared."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.sites: dict[Position, Site] = {}
        self.parameters: dict[int, int] = {}
        self.signatures: dict[type, tuple[tuple[str, ...], str]] = {}
        self.inputs: dict[tuple[int, type], Leaves] = {}
        self.chains: dict[Any, tuple[str, ...]] = {}
        self.hooks: dict[tuple[Hook, ...], tuple[Hook, ...]] = {}

    def calls(self) -> list[Call]:
        numbers: dict[int, int] = {}
        depths: dict[int, int] = {}
        counts: dict[int, int] = {}
        with_children: set[int] = set()
        kept: list[OpenCall] = []
        for call in log[self.recorded.start :]:
            parent = call.parent
            inside = parent is not None and id(parent) in numbers
            if not inside and self.recorded not in call.seen.places:
                continue
            numbers[id(call)] = len(kept)
            depths[id(call)] = depths[id(parent)] + 1 if inside else 0
            if inside:
                with_children.add(id(parent))
            kept.append(call)
        calls = []
        for number, call in enumerate(kept):
            counts[id(call.seen)] = nth = counts.get(id(call.seen), 0) + 1
            above = numbers.get(id(call.parent))
            calls.append(self._call(call, number, above, depths[id(call)], nth, id(call) in with_children))
        return calls

    def _call(self, call: OpenCall, number: int, parent: int | None, depth: int, nth: int, has_children: bool) -> Call:
        seen = call.seen
        names = seen.places.get(self.recorded, ())
        return Call(
            id=number,
            parent=parent,
            depth=depth,
            path=names[0] if names else None,
            class_name=seen.module_class.__name__,
            nth=nth,
            entry=call.entry,
            inputs=self._inputs(call),
            outputs=call.outputs,
            site=self._site(call.position),
            chain=self._chain(call),
            hooks=self._hooks(call),
            parameters=self._parameters(seen),
            duration_us=(call.end - call.begin) / 1000 if call.end else None,
            error=call.error,
            aliases=names[1:],
            opaque=_opaque(call, has_children),
            thread=call.thread,
        )

    def _inputs(self, call: OpenCall) -> Leaves:
        key = id(call.inputs), call.seen.module_class
        found = self.inputs.get(key)
        if found is None:
            found = self.inputs[key] = named_by_parameters(call.inputs, *self._signature(call.seen))
        return found

    def _signature(self, seen: SeenModule) -> tuple[tuple[str, ...], str]:
        cls = seen.module_class
        found = self.signatures.get(cls)
        if found is None:
            found = self.signatures[cls] = _positional_names(cls)
        return found

    def _site(self, position: Position | None) -> Site | None:
        if position is None:
            return None
        found = self.sites.get(position)
        if found is None:
            found = self.sites[position] = site_at(position)
        return found

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
        if not call.hooks:
            return ()
        hooks = tuple(
            Hook(run.kind, run.name, run.fired, run.changed, run.file, run.line) for run in call.hooks.values()
        )
        return self.hooks.setdefault(hooks, hooks)

    def _parameters(self, seen: SeenModule) -> int:
        found = self.parameters.get(id(seen))
        if found is None:
            module = seen.module()
            found = self.parameters[id(seen)] = _parameters(module) if module is not None else 0
        return found


def _opaque(call: OpenCall, has_children: bool) -> str | None:
    if has_children:
        return None
    if call.seen.is_script:
        return "script"
    cls = call.seen.module_class
    if cls.__module__ == "torch._dynamo.eval_frame" and cls.__name__ == "OptimizedModule":
        return "compiled"
    return call.opaque


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if not _is_lazy(parameter))


def _is_lazy(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, nn.UninitializedParameter)


def _positional_names(cls: type) -> tuple[tuple[str, ...], str]:
    """The names of the parameters of `forward` that take positions, and of the one that takes the rest."""
    forward = getattr(cls, "forward", None)
    try:
        parameters = list(inspect.signature(forward).parameters.values())[1:] if callable(forward) else []
    except (TypeError, ValueError):  # written in C
        parameters = []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = tuple(parameter.name for parameter in parameters if parameter.kind in positional)
    rest = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.VAR_POSITIONAL]
    return names, rest[0] if rest else "args"


def _forward_name(cls: type) -> str:
    forward = getattr(cls, "forward", None)
    return getattr(forward, "__qualname__", f"{cls.__name__}.forward")


def _device(model: nn.Module) -> str:
    tensor = next(model.parameters(), None)
    return str(tensor.device) if tensor is not None else "cpu"
