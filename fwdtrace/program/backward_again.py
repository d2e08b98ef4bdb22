"""The error of a backward that ended a program, explained: a call like one that was kept is made, with its backward."""

from __future__ import annotations

import inspect
import re
from ast import literal_eval
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.models.randomness import random_state
from fwdtrace.program.replay import INEXACT, is_interrupt, recorded, silence
from fwdtrace.program.state import state_kept
from fwdtrace.program.traces import with_findings
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.notes import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Call, Leaf, TensorMeta, Trace

WHOLE_NUMBERS = (1, 0)
"""What whole numbers in the arguments are made, one after the other: both are a row of most tables."""
_REASON = "its arguments are others of the same shapes, as those of the call whose backward raised are gone"


def explained_backward(error: Exception, kept: Iterable[tuple[Trace, nn.Module]]) -> Trace | None:
    """The trace of a call whose backward raises the same error; None if no model gives one.

    A program that goes on pays nothing for this: no argument of its calls is held for the case that backward raises. So
    the arguments are made anew, and only an error that is the same but for numbers says that the cause is the same.
    """
    for trace, model in kept:
        for call in trace.children():
            if trace.run.grad and call.error is None and call.path is not None and call.entry == "__call__":
                for number in WHOLE_NUMBERS:
                    found = _backward_again(error, trace, model, call, number)
                    if found is not None:
                        return found
    return None


def _backward_again(error: Exception, kept: Trace, model: nn.Module, call: Call, number: int) -> Trace | None:
    module = model.get_submodule(call.path or "")
    recording = Recording(model, Options(ops=True, gradients=True, alone=True))
    before = random_state()
    try:
        args, kwargs = _arguments(module, call.inputs, number)
    except (ValueError, SyntaxError, RuntimeError):  # an object that its text does not make again
        return None

    def run() -> None:
        with torch.enable_grad():
            _start(tensors_of(module(*args, **kwargs))).backward()  # type: ignore[no-untyped-call]

    try:
        with state_kept(model), silence():
            raised = recorded(recording, run)
    finally:
        before.restore()
    if raised is not None and is_interrupt(raised):
        raise raised
    if raised is None or _kind(raised) != _kind(error) or not recording.trace.backward_errors:
        return None
    trace = recording.trace
    calls = tuple(replace(each, site=call.site) if each.parent is None else each for each in trace.calls)
    trace = replace(
        trace,
        calls=calls,
        model=replace(trace.model, name=kept.model.name, path=kept.model.path),
        run=replace(trace.run, call=None, event="error", replay=INEXACT, replay_reason=_REASON),
    )
    return with_findings(trace)


def _start(outputs: list[Tensor]) -> Tensor:
    """A number from which backward comes to all of the outputs."""
    parts = (torch.view_as_real(each) if each.is_complex() else each for each in outputs if each.requires_grad)
    return sum((part.sum() for part in parts), torch.zeros(()))


def _kind(error: BaseException) -> tuple[type[BaseException], str]:
    """What an error says but for numbers and for what a tensor is."""
    return type(error), re.sub(r"\[torch\.\w+ \[[\d, ]*\]\]|\d+", "#", str(error))


def _arguments(module: nn.Module, leaves: Iterable[Leaf], number: int) -> tuple[list[Any], dict[str, Any]]:
    """Arguments with the names, shapes and dtypes of these leaves; ValueError if they cannot be made."""
    given: dict[str, Any] = {}
    for leaf in leaves:
        first, *keys = re.findall(r"[^.\[\]]+", leaf.name)
        value = _tensor(leaf, number) if isinstance(leaf, TensorMeta) else literal_eval(leaf.value)
        given[first] = _placed(given.get(first), keys, value)
    kinds = {name: parameter.kind for name, parameter in inspect.signature(module.forward).parameters.items()}
    rest = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL), None)
    positional = [
        name
        for name, kind in kinds.items()
        if name in given
        and (
            kind is inspect.Parameter.POSITIONAL_ONLY or (rest in given and kind is not inspect.Parameter.KEYWORD_ONLY)
        )
    ]
    args = [given.pop(name) for name in positional if name != rest]
    return [*args, *given.pop(rest or "", ())], given


def _placed(holder: Any, keys: list[str], value: Any) -> Any:
    """A list or dictionary with one more value in it, by its keys; the value itself without keys."""
    if not keys:
        return value
    key, *more = keys
    if key.isdigit():
        items = [*(holder or ())]
        items[int(key) :] = [_placed(items[int(key)] if int(key) < len(items) else None, more, value)]
        return tuple(items)
    named = dict(holder or {})
    return {**named, key: _placed(named.get(key), more, value)}


def _tensor(leaf: TensorMeta, number: int) -> Tensor:
    dtype: torch.dtype = getattr(torch, leaf.dtype)
    if leaf.layout != "strided" or leaf.placements or leaf.device == "meta" or min(leaf.shape, default=0) < 0:
        raise ValueError(f"{leaf.name} is no plain tensor")
    if not dtype.is_floating_point and not dtype.is_complex:
        return torch.full(leaf.shape, number, dtype=dtype, device=leaf.device)
    made = torch.randn(leaf.shape, dtype=dtype, device=leaf.device)
    return made.requires_grad_().clone() if leaf.requires_grad else made
