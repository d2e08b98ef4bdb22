"""Functional ops between the calls: a torch function mode that is on only while a forward that shows its ops runs."""

from __future__ import annotations

import dis
import functools
from sys import _getframe
from types import CodeType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode, resolve_name

from fwdtrace.recorder.describe import describe_inputs, describe_output
from fwdtrace.recorder.frames import error_of, is_ours, position_outside_torch
from fwdtrace.recorder.measures.finite import are_finite, note_values
from fwdtrace.recorder.notes import OpenOp, SeenModule, log, recordings_of_values, stacks, value_options
from fwdtrace.recorder.torch_internals import pop_function_mode, push_function_mode, top_function_mode
from fwdtrace.trace import TensorMeta

_QUERY_NAMES = """
    __array__ __bool__ __contains__ __deepcopy__ __float__ __format__ __hash__ __index__ __int__ __len__ __repr__
    __reduce_ex__ backward data_ptr dim element_size get_device is_complex is_contiguous is_floating_point is_pinned
    is_shared is_signed item ndimension nelement numel numpy register_hook requires_grad_ retain_grad size storage
    storage_offset stride tolist type untyped_storage
"""
_QUERIES = frozenset(getattr(Tensor, name) for name in _QUERY_NAMES.split())
"""Methods that read a tensor or say something of it; no step of the computation."""

_VIEWS = frozenset(("T", "mT", "H", "mH", "real", "imag"))
"""The attributes whose value is another tensor than the one they are read from."""

_METHOD_WRAPPER = type(Tensor.shape.__get__)  # type: ignore[attr-defined]


class OpMode(TorchFunctionMode):
    """Notes each torch function or method that the forward itself runs; torch takes it off while the function runs."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function; note what it was given and what it gave if it is an op of the innermost open call."""
        kwargs = kwargs or {}
        if is_dynamo_compiling():
            return function(*args, **kwargs)
        stack = stacks.stack
        if not stacks.shows_ops or not stack or stacks.in_op or _is_query(function):
            return function(*args, **kwargs)
        op = OpenOp()
        parent = op.parent = stack[-1]
        op.function = function
        op.position = position_outside_torch(_getframe(1), parent.position)
        op.inputs = describe_inputs(args, kwargs)
        op.outputs = ()
        op.error = op.kept_by = op.extra = None
        inputs_finite = not recordings_of_values or are_finite(args, kwargs)
        stacks.in_op = True
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            op.error = error_of(error)
            log.append(op)
            raise
        finally:
            stacks.in_op = False
        op.outputs = describe_output(result)
        if recordings_of_values:
            note_values(op, value_options(), inputs_finite, result)
        if function is Tensor.__setitem__ or any(type(leaf) is TensorMeta for leaf in op.outputs):
            log.append(op)
        return result


_MODE = OpMode()


def switch(entry: SeenModule, is_outermost: bool) -> str:
    """Turn the noting of ops on or off for a call that begins; what to hand to `switch_back` when it ends.

    Off inside leaf modules and torch's own: fused fast paths ask whether a mode is on.
    """
    shown = entry.shows_ops or (is_outermost and entry.is_users)
    if shown == stacks.shows_ops:
        return ""
    stacks.shows_ops = shown
    if shown:
        push_function_mode(_MODE)
        return "pushed"
    if top_function_mode() is _MODE:
        pop_function_mode()
        return "popped"
    return "muted"  # a mode of the user's lies on ours


def switch_back(change: str) -> None:
    """Undo a `switch`."""
    stacks.shows_ops = not stacks.shows_ops
    if change == "popped":
        push_function_mode(_MODE)
    elif change == "pushed":
        above = []
        while top_function_mode() is not _MODE:  # the user's forward left a mode behind: it stays, ours goes
            above.append(pop_function_mode())
        pop_function_mode()
        for mode in reversed(above):
            push_function_mode(mode)


def name_of_op(op: OpenOp) -> str:
    """The name by which a user knows the op: `torch.flatten`, `Tensor.view`, `F.relu`, or the operator, `+`."""
    operator = _operator(*op.position) if op.position is not None else ""
    return operator or _function_name(op.function)


def _is_query(function: Any) -> bool:
    if type(function) is _METHOD_WRAPPER:
        return function.__name__ != "__get__" or function.__self__.__name__ not in _VIEWS
    try:
        return function in _QUERIES
    except TypeError:  # a callable that cannot be hashed
        return False


def _function_name(function: Any) -> str:
    if type(function) is _METHOD_WRAPPER:
        return f"Tensor.{function.__self__.__name__}"
    short = getattr(function, "__name__", "")
    for home, prefix in ((F, "F."), (torch, "torch.")):  # some functions have several names, and resolve_name takes any
        if getattr(home, short, None) is function:
            return prefix + short
    name = str(resolve_name(function) or getattr(function, "__qualname__", type(function).__name__))
    for long, short in (("torch.nn.functional.", "F."), ("torch.Tensor.", "Tensor."), ("torch.functional.", "torch.")):
        if name.startswith(long):
            return short + name[len(long) :]
    return name


def _operator(code: CodeType, instruction: int) -> str:
    return _operators_in(code).get(instruction, "")


@functools.lru_cache(maxsize=64)
def _operators_in(code: CodeType) -> dict[int, str]:
    """The operators in a piece of code by where they stand."""
    found = {}
    for each in dis.get_instructions(code):
        if each.opname in ("BINARY_OP", "COMPARE_OP"):
            found[each.offset] = str(each.argrepr).removeprefix("bool(").removesuffix(")")
        elif each.opname in _OPERATORS:
            found[each.offset] = _OPERATORS[each.opname]
    return found


_OPERATORS = {
    "BINARY_SUBSCR": "[]",
    "STORE_SUBSCR": "[]=",
    "UNARY_NEGATIVE": "-",
    "UNARY_INVERT": "~",
    "BINARY_ADD": "+",
    "BINARY_SUBTRACT": "-",
    "BINARY_MULTIPLY": "*",
    "BINARY_TRUE_DIVIDE": "/",
    "BINARY_FLOOR_DIVIDE": "//",
    "BINARY_MODULO": "%",
    "BINARY_POWER": "**",
    "BINARY_MATRIX_MULTIPLY": "@",
    "BINARY_AND": "&",
    "BINARY_OR": "|",
    "BINARY_XOR": "^",
    "INPLACE_ADD": "+=",
    "INPLACE_SUBTRACT": "-=",
    "INPLACE_MULTIPLY": "*=",
    "INPLACE_TRUE_DIVIDE": "/=",
    "INPLACE_MATRIX_MULTIPLY": "@=",
}
"""By the instruction's name, where it does not carry the operator itself (the binary ones up to Python 3.10)."""

is_ours(OpMode.__torch_function__.__code__, "stand-in")
