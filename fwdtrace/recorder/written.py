"""What calls and ops write into, by their names and settings: for tensors that have no version or are out of sight."""

from __future__ import annotations

import dis
from collections.abc import Sequence
from types import CodeType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

from fwdtrace.recorder.frames import original_of
from fwdtrace.recorder.notes import Known, Note, OpenCall, OpenOp, SeenModule
from fwdtrace.trace import Value

_NOT_COUNTED = frozenset(("detach_", "requires_grad_", "resize_", "resize_as_", "share_memory_"))
"""The methods with such a name that torch does not count as a write, as they write no numbers."""

_STATISTICS = ("running_mean", "running_var")
_STORES_ITEM = dis.opmap["STORE_SUBSCR"]


def writes_by_name(note: Note) -> bool:
    """Whether a call or op that gives back what it was given writes into it."""
    if not isinstance(note, OpenOp):
        module = note.seen.module()
        is_off = isinstance(module, _DropoutNd) and not module.training
        return bool(getattr(module, "inplace", False)) and not is_off
    name = getattr(note.function, "__name__", "")
    given = _given_by_name(note)
    if "out" in given:
        return True
    if given.get("inplace") == "True":
        return not ("dropout" in name and given.get("training") == "False")
    return name.startswith("__i") or _is_in_place(name)


def tables_written(module: nn.Module, seen: SeenModule) -> tuple[str, ...]:
    """The tables of a module into whose tensors its forward may write by ops that are not shown.

    Few modules write into parameters, and to look at those takes time in each call: so where a class names nothing that
    writes, nobody looks.
    """
    if seen.shows_ops:
        return ()
    tables = ("_buffers", "_parameters") if seen.of.writes_in_place else ("_buffers",)
    return tuple([table for table in tables if module.__dict__.get(table)])


def writes_in_place(cls: type[nn.Module]) -> bool:
    """Whether the forward of a class, or a method that it leads to, names one that writes in place, or sets items."""
    pending, met = ["forward"], {"forward"}
    bases = [base for base in cls.__mro__ if issubclass(base, nn.Module) and base is not nn.Module]
    while pending:
        name = pending.pop()
        for function in [original_of(base.__dict__[name]) for base in bases if name in base.__dict__]:
            code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
            for each in _with_inner(code) if code is not None else ():
                if _STORES_ITEM in each.co_code[::2] or any(map(_is_in_place, each.co_names)):
                    return True
                pending += [other for other in each.co_names if other not in met]
                met.update(each.co_names)
    return False


def is_norm(call: OpenCall) -> bool:
    """Whether it is a call of one of torch's norms that may keep statistics."""
    return not call.seen.of.is_users and isinstance(call.seen.module(), _NormBase)


def statistics_written(note: Note, taken: Sequence[Known]) -> list[Tensor]:
    """The running mean and variance into which a norm wrote, whose versions do not say so."""
    if isinstance(note, OpenOp):
        given = _given_by_name(note)
        if "True" not in (given.get("training"), given.get("use_input_stats")):
            return []
        places = [name for name, text in given.items() if text is None]
        held = [entry() for name, entry in zip(places, taken, strict=False) if name in _STATISTICS]
    else:
        module: Any = note.seen.module()
        if not (module.training and module.track_running_stats):
            return []
        names = (*_STATISTICS, "num_batches_tracked") if isinstance(module, _BatchNorm) else _STATISTICS
        held = [module._buffers.get(name) for name in names]
    return [tensor for tensor in held if tensor is not None]


def _with_inner(code: CodeType) -> list[CodeType]:
    """A piece of code and those that are defined in it."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return [code, *(each for part in inner for each in _with_inner(part))]


def _is_in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__") and name not in _NOT_COUNTED


def _given_by_name(op: OpenOp) -> dict[str, str | None]:
    """The texts of the arguments of an op, None of a tensor, by the names of its parameters if it is in Python."""
    code: Any = getattr(op.function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    given: dict[str, str | None] = {}
    for leaf in op.inputs:
        name = leaf.name.partition("[")[0]
        if name.isdigit():
            name = names[int(name)] if int(name) < len(names) else name
        given[name] = leaf.value if isinstance(leaf, Value) else None
    return given
