"""What a program computes from what a model gave, up to backward, run again: where a loss goes wrong."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from fwdtrace.program.moment import Moment
from fwdtrace.program.replay import Begun, Replay, replayed
from fwdtrace.program.scopes import Place, Scope
from fwdtrace.program.statement import callable_alone, expressions_as_function
from fwdtrace.recorder.recorded import Options
from fwdtrace.trace import Trace

AND_LOSS = " and loss"
"""Behind the class of a model, where what ran is the model and what is computed from its output."""


def loss_again(
    moment: Moment,
    called_from: Sequence[Place],
    backward_from: Sequence[Scope],
    model: nn.Module,
    options: Options,
    number: int,
    begun: Begun = lambda recording: None,
) -> Replay | None:
    """Run again what led from a call to the backward, the call included; None if that is not to be found in one place.

    It is found in a function that was running at both times: from the statement in which the call was made to the one
    in which backward began, or to the latest backward before the line, those statements alone that it depends on.
    """
    for scope in backward_from:
        called_at = next((at for code, at in called_from if code is scope.code), None)
        part = _part(scope.code, called_at, scope.line) if called_at is not None else None
        if part is not None:
            return _run_again(part, scope, moment, model, options, number, begun)
    return None


@dataclass(frozen=True)
class _Part:
    """The statements to run, and the expression of which backward is taken."""

    statements: Sequence[ast.stmt]
    result: ast.expr


def _run_again(
    part: _Part, scope: Scope, moment: Moment, model: nn.Module, options: Options, number: int, begun: Begun
) -> Replay | None:
    found, local = scope.values, scope.local
    used = {
        node.id for each in (*part.statements, part.result) for node in ast.walk(each) if isinstance(node, ast.Name)
    }
    values = {name: found[name] for name in sorted(used) if name in local}
    names = [name for name, value in values.items() if not callable_alone(value) and not isinstance(value, nn.Module)]
    try:
        forward = expressions_as_function(part.statements, part.result, names, scope.code.co_filename, found)
    except (SyntaxError, ValueError):
        return None
    namespace = {"forward": forward, "__module__": found.get("__name__", "")}
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
