"""From what was noted while the model ran to the finished Trace: its calls and ops, its totals, its findings."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from operator import attrgetter, countOf

import torch
from torch import nn

from fwdtrace.findings import find
from fwdtrace.recorder.around import around_run
from fwdtrace.recorder.finished_calls import Finisher, hooks_of
from fwdtrace.recorder.hooks import list_hooks
from fwdtrace.recorder.measures.gradients import Gradients, gradients_of
from fwdtrace.recorder.notes import SeenModule
from fwdtrace.recorder.recorded import Recorded
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import NO_FORWARD
from fwdtrace.recorder.tree import first_parameter, modules_and_names, own_parameters, sizes_of
from fwdtrace.trace import ModelInfo, RunInfo, Trace, Uncalled, Versions
from fwdtrace.version import __version__


@dataclass(frozen=True)
class Surroundings:
    """What is known before the model runs and may have changed when it has run."""

    versions: Versions
    model: ModelInfo
    run: RunInfo


def surroundings_of(model: nn.Module, spec: str | None, seed: int | None) -> Surroundings:
    """The model's class, mode and device, and the versions at work."""
    cls, device = type(model), _device(model)
    rank = os.environ.get("RANK")
    return Surroundings(
        Versions(__version__, str(torch.__version__).partition("+")[0], platform.python_version()),
        ModelInfo(spec, f"{cls.__module__}.{cls.__qualname__}", _is_training(model), 0),
        RunInfo(device, torch.is_grad_enabled(), seed, int(rank) if rank else None, 0.0, around=around_run(device)),
    )


def _is_training(model: nn.Module) -> bool:
    """Whether the model is in training mode; of what data parallelism wraps, which alone heeds it, the mode of that."""
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return _is_training(model.module)
    return model.training


def finished_trace(
    session: Session,
    recorded: Recorded,
    surroundings: Surroundings,
    duration: int,
    error: BaseException | None = None,
) -> Trace:
    """The Trace of one recording; `duration` is in nanoseconds, `error` what ended it if something raised."""
    sizes = sizes_of(recorded.root)
    finisher = Finisher(session, recorded, sizes.counts)
    calls, ops = finisher.calls_and_ops()
    if recorded.options.keeper is not None:
        recorded.options.keeper.number(finisher.ids)
    trace = Trace(
        surroundings.versions,
        replace(
            surroundings.model,
            parameters=sizes.counts[id(recorded.root)],
            trainable=sizes.trainable,
            parameter_bytes=sizes.parameter_bytes,
            buffer_bytes=sizes.buffer_bytes,
        ),
        replace(surroundings.run, duration_us=duration / 1000, call=recorded.call),
        tuple(calls),
        tuple(ops) if recorded.options.ops else None,
        uncalled=_uncalled(recorded, sizes.counts.keys(), finisher.modules),
    )
    made = finisher.sources.made() if finisher.sources is not None else ()
    recorded.earlier.remember(recorded.call, countOf(map(attrgetter("path"), calls), ""), recorded.first_id, made)
    measure = session.kinds.get(Gradients)
    if recorded.options.gradients and isinstance(measure, Gradients):
        gradients = gradients_of(recorded.root)
        errors = measure.errors(recorded.root, finisher.ids, error)
        faults = measure.faults(recorded.root, gradients, finisher.ids) if not errors else ()
        trace = replace(trace, gradients=gradients, gradient_faults=faults, backward_errors=errors)
    return replace(trace, findings=find(trace))


def _uncalled(recorded: Recorded, modules: Set[int], called: Iterable[SeenModule]) -> tuple[Uncalled, ...]:
    """The modules of the tree with parameters of their own that no call is of, though they could be called."""
    if modules <= {seen.key for seen in called}:
        return ()
    paths = {recorded.names[seen][0] for seen in called if recorded.names.get(seen)}
    return tuple(
        Uncalled(names[0], type(module).__name__, count, hooks_of(list_hooks(module, with_own_forward=True)))
        for module, names in modules_and_names(recorded.root)
        if module._parameters
        and names[0] not in paths
        and getattr(type(module), "forward", None) is not NO_FORWARD
        and (count := sum(parameter.numel() for parameter in own_parameters(module)))
    )


def _device(model: nn.Module) -> str:
    tensor = first_parameter(model)
    return str(tensor.device) if tensor is not None else "cpu"
