"""The expression of a program that raised, as a function that can be called again with what its names were then."""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType, GeneratorType
from typing import Any

import torch
from torch import Tensor, nn

_COMPUTE = (
    *("torch._C", "torch._ops", "torch._tensor", "torch.functional", "torch.func", "torch.nn", "torch.sparse"),
    *("torch.linalg", "torch._linalg_utils", "torch._lowrank", "torch.nested", "torch.masked", "torch.distributions"),
    *("torch.amp", "torch.random", "torch.ao.nn", "torch_geometric.nn", "torch_geometric.utils", "torch_scatter"),
    *("torchvision.ops", "torchvision.transforms", "torchaudio.functional", "torchmetrics.functional"),
    *("einops", "builtins", "math", "_operator"),
)
"""Modules whose functions only compute, beside torch itself; others start processes, write files or download."""
_COMMUNICATE = ("torch._C._distributed", "torch._ops._c10d")
_AUTOGRAD = "torch.autograd"
_OF_AUTOGRAD = ("grad", "backward", "no_grad", "enable_grad", "set_grad_enabled")
"""Functions of autograd that do no more than backward does."""
_READ = ("get", "items", "keys", "values", "copy", "index", "count", "union", "intersection", "difference")
"""Methods of a container or an iterator that leave it as it was."""


@dataclass(frozen=True)
class Again:
    """A function of the names in an expression, with the place of the expression, and what they were."""

    forward: Callable[..., Any]
    arguments: tuple[Any, ...]


def function_of(
    frame: FrameType, instruction: int, line: int, alone: bool = False, seen_at: tuple[str, int] | None = None
) -> Again | None:
    """The expression that this instruction belongs to; None if to run it again might do more than compute.

    With `alone`, also if it calls a module that may communicate with other processes. With `seen_at`, what runs stands
    at that line of that file, and not at its own, which is in a library.
    """
    code = frame.f_code
    expression = _expression(code, instruction, line)
    if expression is None:
        return None
    values = {**frame.f_globals, **frame.f_locals}
    if not Namespace(values, alone).only_computes(expression):
        return None
    used = {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    names = sorted(name for name in used if name in frame.f_locals and not callable_alone(frame.f_locals[name]))
    others = {name: frame.f_locals[name] for name in used if name in frame.f_locals and name not in names}
    try:
        file = code.co_filename
        if seen_at is not None:
            file = seen_at[0]
            _move(expression, seen_at[1])
        forward = expressions_as_function([], expression, names, file, {**frame.f_globals, **others})
    except (SyntaxError, ValueError):
        return None
    return Again(forward, tuple(frame.f_locals[name] for name in names))


def _move(expression: ast.expr, line: int) -> None:
    for node in ast.walk(expression):
        if isinstance(node, ast.expr | ast.keyword):
            node.lineno = node.end_lineno = line
            node.col_offset = node.end_col_offset = 0


def callable_alone(value: Any) -> bool:
    """Whether a value is code to be called, and no operand."""
    return isinstance(value, type(torch)) or (callable(value) and not isinstance(value, nn.Module | Tensor))


def expressions_as_function(
    statements: Sequence[ast.stmt], result: ast.expr, names: Sequence[str], file: str, values: dict[str, Any]
) -> Callable[..., Any]:
    """A function of these names that runs statements and returns an expression, each at its own line.

    `values` has what the other names are.
    """
    parameters = [ast.arg("_"), *map(ast.arg, names)]
    body = [*statements, ast.copy_location(ast.Return(result), result)]
    arguments = ast.arguments([], parameters, None, [], [], None, [])
    function = ast.copy_location(ast.FunctionDef("forward", arguments, body, []), body[0])
    if sys.version_info >= (3, 12):
        function.type_params = []
    module = ast.fix_missing_locations(ast.Module([function], []))
    values = dict(values)
    exec(compile(module, file, "exec"), values)
    made: Callable[..., Any] = values["forward"]
    return made


def _expression(code: CodeType, instruction: int, line: int) -> ast.expr | None:
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.AugAssign) and _place(node) == _place_of(code, instruction):
            return _as_expression(node)
    if sys.version_info >= (3, 11):
        return None
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and node.lineno == line]
    return _as_expression(statements[-1]) if statements else None


def _as_expression(node: ast.AST) -> ast.expr | None:
    if isinstance(node, ast.AugAssign):
        left: Any = ast.parse(ast.unparse(node.target), mode="eval").body
        return ast.copy_location(ast.BinOp(ast.copy_location(left, node), node.op, node.value), node)
    if isinstance(node, ast.Assign | ast.Return | ast.Expr | ast.AnnAssign):
        return node.value
    return node if isinstance(node, ast.expr) else None


def _place(node: ast.AST) -> tuple[int, int, int, int]:
    place: Any = node
    return place.lineno, place.end_lineno, place.col_offset, place.end_col_offset


def _place_of(code: CodeType, instruction: int) -> tuple[int | None, ...] | None:
    if sys.version_info < (3, 11):  # its code objects do not tell columns
        return None
    return list(code.co_positions())[instruction // 2]


class Namespace:
    """What the names in an expression are, to see what it does.

    With `alone`, a module that may communicate with other processes counts as something that does more than compute;
    with `writes`, to write into a tensor counts as computing, and so does backward.
    """

    def __init__(self, values: dict[str, Any], alone: bool = False, writes: bool = False) -> None:
        self._values = values
        self._alone = alone
        self._writes = writes

    def found(self, names: Sequence[str]) -> Any:
        """What `a.b.c` is; None if that is not known."""
        if not names:
            return None
        found = self._values.get(names[0], getattr(builtins, names[0], None))
        for name in names[1:]:
            found = getattr(found, name, None)
        return found

    def only_computes(self, code: ast.AST) -> bool:
        """Whether all that the code calls are functions of torch without effects, and models."""
        if any(isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr) for node in ast.walk(code)):
            return False
        calls = [node for node in ast.walk(code) if isinstance(node, ast.Call)]
        return all(self._computes(call, call is code) for call in calls)

    def _computes(self, call: ast.Call, raised: bool) -> bool:
        names = list(dotted(call.func))
        if not names:  # a method of what an expression gives
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            return hasattr(Tensor, name) and self._is_harmless(name, raised)
        found = self.found(names)
        if isinstance(found, nn.Module):
            return not self._alone or _is_local(found)
        module = getattr(found, "__module__", None) or type(getattr(found, "__self__", None)).__module__
        held = getattr(found, "__self__", None)
        if not self._writes and isinstance(held, list | dict | set | GeneratorType) and names[-1] not in _READ:
            return False
        if module.startswith(_AUTOGRAD):
            return self._writes and names[-1] in _OF_AUTOGRAD
        return _only_computes(module) and self._is_harmless(names[-1], raised)

    def _is_harmless(self, name: str, raised: bool) -> bool:
        """Whether a function of this name writes into nothing; the one that raised has not written."""
        if self._writes and name == "backward":
            return True
        return name not in ("backward", "step", "next", "print", "input", "open", "exec", "eval") and (
            raised or self._writes or not name.endswith("_") or name.endswith("__")
        )


def _only_computes(module: str) -> bool:
    """Whether the functions of a module have no effect but their result."""
    if module.startswith(_COMMUNICATE):
        return False
    return module == "torch" or any(module == part or module.startswith(f"{part}.") for part in _COMPUTE)


def _is_local(module: nn.Module) -> bool:
    """Whether a module is a layer of torch's, or holds such layers, that only computes with what it holds itself."""
    hooks = module._forward_pre_hooks or module._forward_hooks
    plain = all(type(parameter) is nn.Parameter for parameter in module.parameters())
    from_torch = type(module).__module__.startswith("torch.nn.modules.")
    return from_torch and not hooks and plain and all(map(_is_local, module.children()))


def dotted(node: ast.AST) -> Iterator[str]:
    """The names of `a.b.c`; none of anything else."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        outer = list(dotted(node.value))
        if outer:
            yield from (*outer, node.attr)
