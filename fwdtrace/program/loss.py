"""What a program computes from what a model gave, up to backward, run again: where a loss goes wrong."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import CO_OPTIMIZED
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.moment import Moment
from fwdtrace.program.replay import Begun, Replay, replayed
from fwdtrace.program.statement import callable_alone, expressions_as_function
from fwdtrace.recorder.frames import from_torch, is_ours
from fwdtrace.recorder.notes import Options
from fwdtrace.trace import Trace

MOST_FRAMES = 6
AND_LOSS = " and loss"
"""Behind the class of a model, where what ran is the model and what is computed from its output."""
Place = tuple[CodeType, int]
"""The code of a frame, and the line that it was at."""


def places_above(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of the program at and above this one, innermost first, and the line of each."""
    count = 0
    while frame is not None and count < MOST_FRAMES:
        if not from_torch(frame.f_code) and not is_ours(frame.f_code):
            yield frame, frame.f_lineno
            count += 1
        frame = frame.f_back


def loss_again(
    moment: Moment,
    called_from: Sequence[Place],
    backward_from: Sequence[tuple[FrameType, int]],
    model: nn.Module,
    options: Options,
    number: int,
    begun: Begun = lambda recording: None,
) -> Replay | None:
    """Run again what led from a call to the backward, the call included; None if that is not to be found in one place.

    It is found in a function that was running at both times: from the statement in which the call was made to the one
    in which backward began, or to the latest backward before the line, those statements alone that it depends on.
    """
    for frame, line in backward_from:
        called_at = next((at for code, at in called_from if code is frame.f_code), None)
        part = _part(frame.f_code, called_at, line) if called_at is not None else None
        if part is not None:
            return _run_again(part, frame, moment, model, options, number, begun)
    return None


@dataclass(frozen=True)
class _Part:
    """The statements to run, and the expression of which backward is taken."""

    statements: Sequence[ast.stmt]
    result: ast.expr


def _run_again(
    part: _Part, frame: FrameType, moment: Moment, model: nn.Module, options: Options, number: int, begun: Begun
) -> Replay | None:
    found, local = _values_in(frame)
    used = {
        node.id for each in (*part.statements, part.result) for node in ast.walk(each) if isinstance(node, ast.Name)
    }
    values = {name: found[name] for name in sorted(used) if name in local}
    names = [name for name, value in values.items() if not callable_alone(value) and not isinstance(value, nn.Module)]
    try:
        forward = expressions_as_function(part.statements, part.result, names, frame.f_code.co_filename, found)
    except (SyntaxError, ValueError):
        return None
    namespace = {"forward": forward, "__module__": frame.f_globals.get("__name__", "")}
    step = type(type(model).__name__ + AND_LOSS, (nn.Module,), namespace)()
    step._modules["model"] = model  # not by assignment: nobody is to take it for the model's place
    step.train(model.training)
    again = replace(moment, module=step, entry="__call__", args=tuple(values[name] for name in names), kwargs={})
    result = found.get(part.result.id) if isinstance(part.result, ast.Name) else None
    output = [result.detach()] if isinstance(result, Tensor) else None
    replay = replayed(again, step, options, number, output, [torch.ones(())], begun)
    if output is None:
        replay = replace(replay, inexact="there is nothing to compare its result with")
    return replay


def _values_in(frame: FrameType) -> tuple[dict[str, Any], set[str]]:
    """What all names are in a frame, and which of them are local."""
    local = frame.f_locals
    names, found = set(local), {**frame.f_globals, **local}
    if frame.f_code.co_flags & CO_OPTIMIZED and type(local) is dict:  # a copy, which the frame would hold on to
        local.clear()
    return found, names


def with_loss_named(trace: Trace) -> Trace:
    """The trace with findings that do not call the model what is computed after it, if it is of a loss."""
    if not trace.model.class_name.endswith(AND_LOSS):
        return trace
    findings = tuple(
        replace(finding, message=finding.message.replace(" in the model", " in the loss"))
        if finding.call == trace.calls[0].id
        else finding
        for finding in trace.findings
    )
    return replace(trace, findings=findings)


def _part(code: CodeType, called_at: int, line: int) -> _Part | None:
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    blocks = [
        block
        for node in ast.walk(tree)
        for name in ("body", "orelse", "finalbody")
        if isinstance(block := getattr(node, name, None), list)
    ]
    around = [block for block in blocks if _at(block, line) is not None and _at(block, called_at) is not None]
    if not around:
        return None
    block = min(around, key=lambda each: (each[-1].end_lineno or 0) - each[0].lineno)
    first, last = _at(block, called_at), _at(block, line, last=True)
    if first is None or last is None or first > last:
        return None
    found = ((place, _result(block[place], line)) for place in range(last, first - 1, -1))
    last, result = next(((place, result) for place, result in found if result is not None), (last, None))
    if result is None:
        return None
    wanted = _names(result, ast.Load)
    statements: list[ast.stmt] = []
    for statement in reversed(block[first:last]):
        if _names(statement, ast.Store) & wanted:
            statements.insert(0, statement)
            wanted |= _names(statement, ast.Load)
    return _Part(statements, result)


def _at(block: list[ast.stmt], line: int, *, last: bool = False) -> int | None:
    """The place of the statement that this line is in, of the first or the last one of those."""
    places = [place for place, each in enumerate(block) if each.lineno <= line <= (each.end_lineno or 0)]
    return places[-1 if last else 0] if places else None


def _result(statement: ast.stmt, line: int) -> ast.expr | None:
    """What backward is called on by this line, or what is given to a `backward` of another object's."""
    calls = [
        node
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward"
        and node.lineno <= line
    ]  # fmt: skip
    if not calls:
        return None
    call: Any = calls[0]
    if call.args:
        return call.args[0]  # type: ignore[no-any-return]
    own: ast.expr = call.func.value
    if isinstance(own, ast.Call) and isinstance(own.func, ast.Attribute) and own.func.attr == "scale" and own.args:
        return own.args[0]
    return own


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, context)}
