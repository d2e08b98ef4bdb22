"""What is known of torch's functions: which are no step of a computation, which write into nothing, their names."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import resolve_name

from fwdtrace.recorder.frames import Position
from fwdtrace.recorder.operators import operator_at

_QUERY_NAMES = """
    __array__ __bool__ __contains__ __deepcopy__ __float__ __format__ __hash__ __index__ __int__ __len__ __repr__
    __reduce_ex__ backward data_ptr dim element_size get_device is_complex is_contiguous is_floating_point is_pinned
    is_shared is_signed item ndimension nelement numel numpy register_hook requires_grad_ retain_grad size storage
    storage_offset stride tolist untyped_storage
"""
_METHODS_THAT_READ = frozenset(getattr(Tensor, name) for name in _QUERY_NAMES.split())

_VIEWS = frozenset(("T", "mT", "H", "mH", "real", "imag", "data"))
"""The attributes whose value is another tensor than the one they are read from."""

NUMBERS_OUT = frozenset(
    getattr(Tensor, name) for name in ("item", "tolist", "__float__", "__int__", "__index__", "__complex__")
)
"""Those that take numbers out of a graph. They are noted where gradients are asked for and the tensor requires one."""

METHOD_WRAPPER = type(Tensor.shape.__get__)  # type: ignore[attr-defined]

_QUERIES = _METHODS_THAT_READ.union(
    getattr(Tensor, name).__get__
    for name in dir(Tensor)
    if name not in _VIEWS and type(getattr(Tensor, name)) is type(Tensor.shape)
)
"""Methods that read a tensor or say something of it, and the attributes that do; no step of the computation."""

READS_GRAPH: Any = Tensor.grad_fn.__get__  # type: ignore[union-attr]
"""What `Module.register_parameter` asks of a parameter before it puts that in its place."""

SILENT = _QUERIES - NUMBERS_OUT - {READS_GRAPH}
"""Those that are never noted, nor heard of."""

_OPERATORS = """
    __add__ __radd__ __sub__ __mul__ __rmul__ __truediv__ __div__ __floordiv__ __mod__ __matmul__ __getitem__
    __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__ __invert__
"""

ONLY_READS = frozenset(
    method
    for name, method in vars(torch._C.TensorBase).items()
    if type(method) is type(Tensor.add) and not name.endswith("_") and name not in ("record_stream", "retain_grad")
).union(getattr(Tensor, name) for name in _OPERATORS.split())
"""Methods of tensors that write into none that they are given; the names of others end in an underscore.

Left out are two of which torch declares that they write, because they note something at the tensor.
"""

_RIGHT_OPERATORS = """
    __radd__ __rand__ __rdiv__ __rfloordiv__ __rlshift__ __rmatmul__ __rmod__ __rmul__ __ror__ __rpow__ __rrshift__
    __rsub__ __rtruediv__ __rxor__
"""
REFLECTED = frozenset(getattr(Tensor, name) for name in _RIGHT_OPERATORS.split() if hasattr(Tensor, name))
"""The methods of an operator whose tensor stands on its right, as in `1 - x`."""


NORMS = frozenset((F.batch_norm, F.instance_norm))
"""Those that write into statistics which they are given, and torch counts no write."""


class FunctionKind:
    """What is known of a function of torch's from its name, as one lookup."""

    __slots__ = ("is_norm", "is_reflected", "is_silent", "only_reads", "takes_numbers_out")

    def __init__(self, function: Any) -> None:
        self.is_silent = function in SILENT
        self.only_reads = function in ONLY_READS
        self.takes_numbers_out = function in NUMBERS_OUT
        self.is_reflected = function in REFLECTED
        self.is_norm = function in NORMS


PLAIN = FunctionKind(None)
"""That of all other functions."""
KINDS: dict[Any, FunctionKind] = {
    function: FunctionKind(function) for function in (*SILENT, *ONLY_READS, *NUMBERS_OUT, *REFLECTED, *NORMS)
}


def name_of_op(function: Any, position: Position) -> str:
    """The name by which a user knows what is called there: `torch.flatten`, `Tensor.view`, or the operator, `+`."""
    return operator_at(*position) or _function_name(function)


def replaces_data(function: Any) -> bool:
    """Whether it is `x.data = y`, after which `x` is the same tensor in the memory of `y`."""
    return type(function) is METHOD_WRAPPER and function.__name__ == "__set__" and function.__self__.__name__ == "data"


def gives_nothing(function: Any) -> bool:
    """Whether it is an assignment, which is a step of a computation though it has no result."""
    return function is Tensor.__setitem__ or replaces_data(function)


def counts_writes_apart(function: Any) -> bool:
    """Whether two tensors share one memory after it, and each counts its own writes only."""
    return type(function) is METHOD_WRAPPER and function.__self__.__name__ == "data"


def is_query(function: Any) -> bool:
    """Whether a function or method only says something of a tensor."""
    try:
        if function in _QUERIES:
            return True
    except TypeError:  # a callable that cannot be hashed
        return False
    is_attribute = type(function) is METHOD_WRAPPER and not replaces_data(function)
    return is_attribute and (function.__name__ != "__get__" or function.__self__.__name__ not in _VIEWS)


def _function_name(function: Any) -> str:
    if type(function) is METHOD_WRAPPER:
        return f"Tensor.{function.__self__.__name__}{'=' if function.__name__ == '__set__' else ''}"
    short = getattr(function, "__name__", "")
    if function in NUMBERS_OUT and short.startswith("__"):
        return f"{short.strip('_')}()"
    for home, prefix in ((F, "F."), (torch, "torch.")):  # some functions have several names, and resolve_name takes any
        if getattr(home, short, None) is function:
            return prefix + short
    name = str(resolve_name(function) or getattr(function, "__qualname__", type(function).__name__))
    for long, short in (("torch.nn.functional.", "F."), ("torch.Tensor.", "Tensor."), ("torch.functional.", "torch.")):
        if name.startswith(long):
            return short + name[len(long) :]
    return name
