"""Which module is to be converted where dtypes differ: the largest that has nothing of the other dtype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from fwdtrace.findings.forward_error.changes import Converted, Proposal
from fwdtrace.trials.apply import dtype_named

LIKELY = 0.95
"""What it costs to convert that module: less than to convert a tensor on its way into a layer."""


def likely_first(model: nn.Module, proposals: Sequence[Proposal]) -> tuple[Proposal, ...]:
    """The proposals, in which it costs less to convert the module that alone has the wrong dtype.

    None costs less if the whole model has it: then the input is as likely to be wrong.
    """
    paths = [change.path for each in proposals for change in each.changes if isinstance(change, Converted)]
    dtype = next((change.dtype for each in proposals for change in each.changes if isinstance(change, Converted)), None)
    if dtype is None or not _has(model, dtype):
        return tuple(proposals)
    modules = dict(model.named_modules())
    without = [path for path in paths if path in modules and not _has(modules[path], dtype)]
    likely = (Converted(min(without, key=len), dtype),) if without else ()
    return tuple(replace(each, cost=LIKELY) if each.changes == likely else each for each in proposals)


def _has(module: nn.Module, dtype: str) -> bool:
    """Whether a parameter or buffer of a module is of a dtype."""
    return any(tensor.dtype == dtype_named(dtype) for tensor in (*module.parameters(), *module.buffers()))
