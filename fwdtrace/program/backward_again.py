"""The error of a backward that ended a program, explained: what led to it is run again, or a call like one kept."""

from __future__ import annotations

import contextlib
import inspect
import re
from ast import literal_eval
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from fwdtrace.models.randomness import random_state
from fwdtrace.program.crash import frames_of_program
from fwdtrace.program.part import Backward, Part, part_before
from fwdtrace.program.replay import INEXACT, is_interrupt, recorded, silence
from fwdtrace.program.state import state_kept
from fwdtrace.program.traces import with_findings
from fwdtrace.recorder.describe import tensors_of
from fwdtrace.recorder.measures.backward_errors import is_second_pass
from fwdtrace.recorder.recorded import Options
from fwdtrace.recorder.recording import Recording
from fwdtrace.trace import Call, Finding, Leaf, TensorMeta, Trace
from fwdtrace.trace.text import name_of

WHOLE_NUMBERS = (1, 0)
"""What whole numbers in the arguments are made, one after the other: both are a row of most tables."""
_REASON_OF_PART = "only the statements that compute were run again, on copies of what the names are now"
_REASON = "its arguments are others of the same shapes, as those of the call whose backward raised are gone"


def explained_backward(error: Exception, kept: Iterable[tuple[Trace, nn.Module]]) -> Trace | None:
    """The trace of calls whose backward raises the same error; None if none does.

    A program that goes on pays nothing for this: no argument of its calls is held for the case that backward raises. So
    the statements of the program that led to it are run again, or a call with arguments that are made anew, and only an
    error that is the same but for numbers says that the cause is the same.
    """
    for frame, line in reversed(list(frames_of_program(error))):
        part = part_before(frame, line)
        found = _part_again(error, part) if part is not None else None
        if found is not None:
            return found
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

    def run() -> None:
        with torch.enable_grad():
            _start(tensors_of(module(*args, **kwargs))).backward()  # type: ignore[no-untyped-call]

    with _all_kept(model):
        try:
            args, kwargs = _arguments(module, call.inputs, number)
        except (ValueError, SyntaxError, RuntimeError):  # an object that its text does not make again
            return None
        raised = recorded(recording, run)
    trace = _trace_of_same(error, raised, recording)
    if trace is None:
        return None
    calls = tuple(replace(each, site=call.site) if each.parent is None else each for each in trace.calls)
    trace = replace(
        trace,
        calls=calls,
        model=replace(trace.model, name=kept.model.name, path=kept.model.path),
        run=replace(trace.run, call=None, event="error", replay=INEXACT, replay_reason=_REASON),
    )
    return with_findings(trace)


def _part_again(error: Exception, part: Part) -> Trace | None:
    """The trace of a part of the program that raises the same error in backward.

    If a graph of a model is used twice, the calls of the models are recorded; otherwise all of the part, as what it
    does between them may be the cause.
    """
    for by_calls in (True, False) if is_second_pass(str(error)) else (False,):
        trace = _trace_of_part(error, part, by_calls)
        last = trace.backward_errors[-1] if trace is not None else None
        if last is not None and not (last.freed and last.event is None):  # else of a graph that is not of this part
            return trace
    return None


def _trace_of_part(error: Exception, part: Part, by_calls: bool) -> Trace | None:
    statements = part.begun()
    lines: list[int] = []
    backwards: list[Backward] = []

    def forward(self: object = None) -> Tensor | None:
        backwards[:] = [found] if (found := next(statements, None)) is not None else []
        return backwards[0][1] if backwards else None

    forward.__qualname__ = "forward"
    whole: Any = type(part.name, (nn.Module,), {"forward": forward, "__module__": part.module})()
    whole._modules.update(part.models)
    tops = [each for each in part.models.values() if not any(_is_inside(each, other) for other in part.models.values())]
    recording = Recording(tops[0] if by_calls else whole, Options(ops=True, gradients=True, alone=True))

    def run() -> None:
        with torch.enable_grad():
            for each in tops[1:] if by_calls else ():
                recording.include(each)
            while (forward() if by_calls else whole()) is not None:
                line, tensor, args, kwargs = backwards[0]
                lines.append(line)
                tensor.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    with _all_kept(whole):
        _let_go_of_graphs(whole)
        raised = recorded(recording, run)
    trace = _trace_of_same(error, raised, recording)
    if trace is None:
        return None
    run_info = replace(trace.run, call=None, event="error", replay=INEXACT, replay_reason=_REASON_OF_PART)
    trace = with_findings(replace(trace, run=run_info))
    codes = {each.code for each in trace.findings}
    found = [each for each in trace.findings if each.code == ("FT011" if "FT011" in codes else "FT008")]
    through = None if by_calls else _through(trace)
    return replace(trace, findings=tuple(_of_part(each, part, through, set(lines[:-1])) for each in found))


@contextlib.contextmanager
def _all_kept(model: nn.Module) -> Iterator[None]:
    """A block that is silent, and after which the model and the random generators are as before."""
    before = random_state()
    try:
        with state_kept(model), silence():
            yield
    finally:
        before.restore()


def _trace_of_same(error: Exception, raised: BaseException | None, recording: Recording) -> Trace | None:
    """What was recorded, if backward raised in it as it did in the program."""
    if raised is not None and is_interrupt(raised):
        raise raised
    if raised is None or _kind(raised) != _kind(error) or not recording.trace.backward_errors:
        return None
    return recording.trace


def _let_go_of_graphs(model: nn.Module) -> None:
    """Have what its modules keep in attributes be of no graph, as at the first of several steps."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if not name.startswith("_") and any(each.grad_fn is not None for each in tensors_of(value)):
                vars(module)[name] = tree_map_only(Tensor, Tensor.detach, value)


def _through(trace: Trace) -> str:
    """What of a later piece of the program led backward to a graph that was used already."""
    id = trace.backward_errors[-1].came_through
    event = next((each for each in trace.events if each.id == id), None)
    for caller in trace.callers(event) if event is not None else ():
        event = caller if caller.parent is not None else event
    if event is None or event.site is None:
        return ""
    return f": it came back through {name_of(event)} in line {event.site.line}"


def _of_part(finding: Finding, part: Part, through: str | None, earlier: set[int]) -> Finding:
    """The finding as one of statements: without what it says of a model around them, and with lines of the program.

    `through` is None if it is of calls of models. `earlier` are the lines in which backward ran before it raised.
    """
    message = finding.message
    if finding.site is not None and finding.site.line in part.steps:
        message = "the step of the optimizer " + message[message.index("wrote into") :]
    if through is not None:
        message = re.sub(r" in the model( #\d+)?|: (both began|it came back) .*", "", message) + through
    if len(earlier) == 1:
        message = message.replace("an earlier backward", f"the backward in line {earlier.pop()}")
    return replace(finding, message=message)


def _is_inside(module: nn.Module, other: nn.Module) -> bool:
    return module is not other and any(each is module for each in other.modules())


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
