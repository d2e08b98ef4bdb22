"""FT006 where a tensor has too few dimensions or too many: what a squeeze took away, or left as it was not 1."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.changes import Called, Proposal, Step
from fwdtrace.findings.forward_error.failure import CALL, Explain, Explanation, Failure, Misfit
from fwdtrace.trace import Op, TensorMeta, Value
from fwdtrace.trace.text import plural, shape_text
from fwdtrace.trace.values import tensors_in

_SQUEEZES = ("Tensor.squeeze", "torch.squeeze")


def missing(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An op along a dimension that its operand does not have."""
    most, wanted = int(match[1]), int(match[2])
    tensor = next((leaf for leaf in failure.tensors if len(leaf.shape) == most + 1), None)
    if tensor is None or not failure.op:
        return None
    says = f"works along dimension {wanted}, got {shape_text(tensor.shape)}, whose dimensions are 0 to {most}"
    named = [at for at, leaf in enumerate(failure.op.inputs) if leaf.name == "dim" or leaf.name.isdigit()]
    at = next((at for at in named if failure.value(failure.op.inputs[at].name) == str(wanted)), None)
    # The classes are last; along which dimension another op was meant to work, nobody can know.
    if "softmax" not in failure.op.name or at is None or failure.op.site is None:
        return Explanation(says)
    return Explanation(says, (Proposal((Called(failure.op.name, failure.op.site, at, "dim", most),), CALL),))


def ordered(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A `permute` that names more or fewer dimensions than its operand has, as where a squeeze found no 1 to take."""
    if not failure.op or len(failure.tensors) != 1:
        return None
    tensor, has, named = failure.tensors[0], int(match[1]), int(match[2])
    says = f"names {plural(named, 'dimension')}, got {shape_text(tensor.shape)}, which has {has}"
    if named == has + 1:
        return Explanation(says, failure.passed(Step("unsqueeze", (0,))))
    squeeze = failure.trace.flow.producer(tensor)
    if not isinstance(squeeze, Op) or squeeze.name not in _SQUEEZES or len(squeeze.inputs) != 2:
        return Explanation(says)
    given, which = squeeze.inputs
    if not isinstance(given, TensorMeta) or given.shape != tensor.shape or not isinstance(which, Value):
        return Explanation(says)
    at = int(which.value) % has
    line = f" in line {squeeze.site.line}" if squeeze.site is not None else ""
    says += f"; {squeeze.name}{line} took nothing away, as dimension {at} is {given.shape[at]} and not 1"
    return Explanation(says, misfits=(Misfit(given, at, 1),))


def unpacked(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A shape that is taken apart into more sizes than it has, as where the examples have no batch."""
    wanted, site = int(match[1]), failure.error.site
    if failure.op or site is None or not re.search(r"= *(\w+)\.(shape|size\(\))$", site.code):
        return None
    name = re.split(r"= *", site.code)[-1].partition(".")[0]
    at = next((at for at, leaf in enumerate(failure.tensors) if leaf.name == name), None)
    if at is None or len(failure.tensors[at].shape) != int(match[2]):  # the name stands for another tensor by now
        return None
    given = failure.tensors[at]
    says = f"takes {plural(wanted, 'size')} from the shape of {name}, got {shape_text(given.shape)}"
    says += f", which has {len(given.shape)}"
    missing = len(given.shape) == wanted - 1
    return Explanation(says, failure.passed(Step("unsqueeze", (0,)), tensor=at) if missing else ())


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


DIMENSIONS: tuple[tuple[str, Explain], ...] = (
    (r"permute\(.*input\.dim\(\) = (\d+) is not equal to len\(dims\) = (\d+)", ordered),
    (r"not enough values to unpack \(expected (\d+), got (\d+)\)", unpacked),
    (r"Dimension out of range \(expected to be in range of \[-?\d+, (\d+)\], but got (-?\d+)\)", missing),
)
"""Patterns of the messages of torch, each with the function that explains it."""
