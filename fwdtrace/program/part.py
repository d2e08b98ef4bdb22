"""The statements of a program that led to its backward, as a function that can be called again."""

from __future__ import annotations

import ast
import copy
import linecache
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from fwdtrace.program.statement import Namespace, callable_alone, dotted, expressions_as_function
from fwdtrace.recorder.frames import name_of_code

_STEP = "step_that_changes_no_numbers"
_DEFINES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom, ast.While, ast.Try)
_LEAVES = (ast.Return, ast.Break, ast.Continue, ast.Raise, ast.Delete, ast.Global, ast.Nonlocal)
_LOOPS_OVER = ("range", "enumerate", "zip", "reversed", "list", "tuple", "parameters", "named_parameters")

Backward = tuple[int, Tensor, tuple[Any, ...], dict[str, Any]]
"""A line, and the tensor whose backward is called in it, with the arguments of that."""


@dataclass(frozen=True)
class Part:
    """The statements as a generator of what its names are now, named after where they are, and the models they call.

    Where backward is called, it gives what that is called on. `steps` are the lines in which an optimizer steps.
    """

    function: Callable[..., Iterator[Backward]]
    values: tuple[Any, ...]
    name: str
    module: str
    models: dict[str, nn.Module]
    steps: frozenset[int]

    def begun(self) -> Iterator[Backward]:
        """The generator, on copies of the tensors."""
        return self.function(None, *tree_map_only(Tensor, _copy, list(self.values)))


def part_before(frame: FrameType, line: int) -> Part | None:
    """The statements of this frame that lead to the backward in this line; None if they call no model.

    Those of a loop or a function are there twice, as what one round leaves may make the backward of the next one fail.
    Only statements that compute are there. They are to run on copies of the tensors, and the step of an optimizer
    counts as a write into its parameters without changing a number.
    """
    values = {**frame.f_globals, **frame.f_locals}
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    code = frame.f_code
    for block, often in _blocks(tree, line):
        kept = _KeptStatements(values)
        before = kept.of([each for each in block if each.lineno <= line])
        after = kept.of([each for each in block if each.lineno > line]) if often else []
        models = dict(_models([*before, *after], values))
        if not models or not any(_calls_of("backward", each) for each in before):
            continue
        statements = [*before, *after, *copy.deepcopy(before)] if often else before
        name = os.path.basename(code.co_filename) if code.co_name == "<module>" else name_of_code(code)
        try:
            steps = frozenset(line for each in statements for line in _calls_of("step", each))
            statements = [_Yields().visit(each) for each in statements]
            function, arguments = _function(statements, frame, values)
        except (SyntaxError, ValueError):
            return None
        module = frame.f_globals.get("__name__", "")
        return Part(function, arguments, name, module, models, steps)
    return None


def _calls_of(method: str, statement: ast.stmt) -> list[int]:
    """The lines in which a method of this name is called."""
    calls = (node for node in ast.walk(statement) if isinstance(node, ast.Call))
    return [each.lineno for each in calls if isinstance(each.func, ast.Attribute) and each.func.attr == method]


def _function(
    statements: Sequence[ast.stmt], frame: FrameType, values: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    used = {node.id for each in statements for node in ast.walk(each) if isinstance(node, ast.Name)}
    local = {name: values[name] for name in sorted(used) if name in frame.f_locals and not _is_fixed(values[name])}
    result = ast.copy_location(ast.Constant(None), statements[-1])
    with_step = {**values, _STEP: _step_that_changes_no_numbers}
    function = expressions_as_function(statements, result, [*local], frame.f_code.co_filename, with_step)
    return function, tuple(local.values())


def _blocks(tree: ast.Module, line: int) -> Iterator[tuple[list[ast.stmt], bool]]:
    """The statements of the loops around a line, the innermost first, then of the function; whether they run often."""
    around = [node for node in ast.walk(tree) if _is_in(node, line) and hasattr(node, "body")]
    for node in reversed(around):  # ast.walk gives the outer ones first
        if isinstance(node, ast.For | ast.While):
            yield node.body, True
        if isinstance(node, ast.FunctionDef):
            yield node.body, True
            return
    yield tree.body, False


def _is_in(node: ast.AST, line: int) -> bool:
    return isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)


class _Yields(ast.NodeTransformer):
    """Has statements give what backward would be called on."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        """A call of backward by itself."""
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "backward":
            named = ast.Dict([ast.Constant(each.arg) for each in call.keywords], [each.value for each in call.keywords])
            line = ast.Constant(call.lineno)
            given = ast.Tuple([line, call.func.value, ast.Tuple(call.args, ast.Load()), named], ast.Load())
            node.value = ast.copy_location(ast.Yield(ast.copy_location(given, call)), call)
        return node


class _KeptStatements:
    """Which statements are kept: those that only compute, run backward or step an optimizer."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self._namespace = Namespace(values, alone=False, writes=True)

    def of(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements that are kept of these, as copies."""
        found = (self._one(copy.deepcopy(each)) for each in statements)
        return [each for each in found if each is not None]

    def _one(self, statement: ast.stmt) -> ast.stmt | None:
        if isinstance(statement, _DEFINES + _LEAVES):
            return None
        if isinstance(statement, ast.For | ast.If | ast.With):
            return self._with_others_in(statement)
        step = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(step, ast.Call) and isinstance(step.func, ast.Attribute) and step.func.attr == "step":
            if not isinstance(self._namespace.found(list(dotted(step.func.value))), torch.optim.Optimizer):
                return None
            call = ast.Call(ast.Name(_STEP, ast.Load()), [step.func.value], [])
            step.func.value = ast.copy_location(call, step)
            step.args = []
            return ast.fix_missing_locations(statement)
        stored = [each.id for each in ast.walk(statement) if isinstance(each, ast.Name) and type(each.ctx) is ast.Store]
        if any(_is_fixed(self._values.get(name)) for name in stored):
            return None
        return statement if self._namespace.only_computes(statement) else None

    def _with_others_in(self, statement: ast.For | ast.If | ast.With) -> ast.stmt | None:
        heads: list[ast.expr] = []
        if isinstance(statement, ast.For):
            called = statement.iter.func if isinstance(statement.iter, ast.Call) else None
            named = self._values.get(statement.iter.id) if isinstance(statement.iter, ast.Name) else ()
            if called is not None and list(dotted(called))[-1:] not in [[name] for name in _LOOPS_OVER]:
                return None
            if not isinstance(named, list | tuple | Tensor):
                return None
            heads = [statement.iter]
        elif isinstance(statement, ast.If):
            heads = [statement.test]
        else:
            heads = [item.context_expr for item in statement.items]
        if not all(map(self._namespace.only_computes, heads)):
            return None
        statement.body = self.of(statement.body)
        if not isinstance(statement, ast.With):
            statement.orelse = self.of(statement.orelse)
        return statement if statement.body else None


def _models(statements: Sequence[ast.stmt], values: dict[str, Any]) -> Iterator[tuple[str, nn.Module]]:
    namespace = Namespace(values)
    for statement in statements:
        for node in ast.walk(statement):
            names = list(dotted(node.func)) if isinstance(node, ast.Call) else []
            found = namespace.found(names) if names else None
            if isinstance(found, nn.Module) and (found._modules or found._parameters):
                yield names[-1], found


def _is_fixed(value: Any) -> bool:
    """Whether a value is no operand: code, a model, or an optimizer of one."""
    return callable_alone(value) or isinstance(value, nn.Module | torch.optim.Optimizer)


def _copy(tensor: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return tensor
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _step_that_changes_no_numbers(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimizer whose step writes into the same parameters what they are already."""
    parameters = [each for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
    return torch.optim.SGD(parameters or [nn.Parameter(torch.zeros(()))], lr=0.0, foreach=False)
