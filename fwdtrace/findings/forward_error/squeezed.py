"""FT006 where a dimension is missing: a squeeze has taken the dimension of the examples away, as there was only one."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.changes import Called, Proposal
from fwdtrace.findings.forward_error.failure import CALL, Explain, Explanation, Failure
from fwdtrace.trace import Op
from fwdtrace.trace.text import shape_text
from fwdtrace.trace.values import tensors_in

_SQUEEZES = ("Tensor.squeeze", "torch.squeeze")


def missing(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An op along a dimension that its operand does not have."""
    most, wanted = int(match[1]), int(match[2])
    tensor = next((leaf for leaf in failure.tensors if len(leaf.shape) == most + 1), None)
    if tensor is None or not failure.op:
        return None
    return Explanation(f"works along dimension {wanted}, got {shape_text(tensor.shape)}, whose last one is {most}")


def squeezes(failure: Failure) -> tuple[Proposal, ...]:
    """The squeezes that took the first dimension away, with the others of size 1 alone."""
    found: tuple[Proposal, ...] = ()
    for op in failure.trace.events:
        given = tensors_in(op.inputs)
        if not isinstance(op, Op) or op.name not in _SQUEEZES or len(op.inputs) != 1 or op.site is None or not given:
            continue
        ones = tuple(at for at, size in enumerate(given[0].shape) if size == 1)
        if ones[:1] == (0,) and len(ones) > 1:
            found += (Proposal((Called(op.name, op.site, 1, "dim", ones[1:]),), CALL - 0.2),)
    return found


MISSING: tuple[tuple[str, Explain], ...] = (
    (r"Dimension out of range \(expected to be in range of \[-?\d+, (\d+)\], but got (-?\d+)\)", missing),
)
"""Patterns of the messages of torch, each with the function that explains it."""
