"""Which calls and ops write into what they are given, by their names and settings: for tensors that have no version."""

from __future__ import annotations

from typing import Any

from torch.nn.modules.dropout import _DropoutNd

from fwdtrace.recorder.notes import Note, OpenOp
from fwdtrace.trace import Value

_NOT_COUNTED = frozenset(("detach_", "requires_grad_", "resize_", "resize_as_", "share_memory_"))
"""The methods with such a name that torch does not count as a write, as they write no numbers."""


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
    return name.startswith("__i") or (name.endswith("_") and not name.endswith("__") and name not in _NOT_COUNTED)


def _given_by_name(op: OpenOp) -> dict[str, str]:
    """The texts of the arguments of an op, by the names of its parameters where it is written in Python."""
    code: Any = getattr(op.function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    given = {}
    for leaf in op.inputs:
        name = leaf.name.partition("[")[0]
        if name.isdigit():
            name = names[int(name)] if int(name) < len(names) else name
        given[name] = leaf.value if isinstance(leaf, Value) else ""
    return given
