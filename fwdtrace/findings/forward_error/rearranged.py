"""FT006 for einops, whose patterns take a tensor apart by sizes that it does not have."""

from __future__ import annotations

import re

from fwdtrace.findings.forward_error.changes import Proposal
from fwdtrace.findings.forward_error.failure import Explain, Explanation, Failure, Misfit, sizes
from fwdtrace.trace import Shape, TensorMeta
from fwdtrace.trace.text import shape_text
from fwdtrace.trace.values import tensors_in


def unequal(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A dimension that is not the product of what it was to be taken apart into."""
    shape, got, wanted = sizes(match[1]), int(match[2]), int(match[3])
    says = f"cannot rearrange {shape_text(shape)}: {got} is to be taken apart into {wanted}"
    return _explanation(failure, says, shape, got, (wanted,))


def undivided(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A dimension that is no multiple of a part of it."""
    shape, got, part = sizes(match[1]), int(match[2]), int(match[3])
    below = got // part * part
    says = f"cannot rearrange {shape_text(shape)}: {got} is no multiple of {part} ({got // part}·{part} = {below})"
    return _explanation(failure, says, shape, got, (below + part, below))


def _explanation(failure: Failure, says: str, shape: Shape, got: int, wanted: tuple[int, ...]) -> Explanation | None:
    tensor = _tensor(failure, shape)
    if tensor is None:
        return Explanation(says)
    places = [at for at, size in enumerate(shape) if size == got]
    misfits = tuple(Misfit(tensor, at, size) for size in wanted if size for at in places)
    proposals: tuple[Proposal, ...] = ()
    for misfit in misfits:
        proposals += failure.maker_built(tensor, misfit.dimension, misfit.wanted)
    origin = failure.origin(tensor)
    return Explanation(says + (f"; it is from {origin}" if origin else ""), proposals, misfits)


def _tensor(failure: Failure, shape: Shape) -> TensorMeta | None:
    """The last tensor of this shape that was made or given before."""
    for event in reversed(failure.trace.events):
        for leaf in tensors_in((*event.outputs, *event.inputs)):
            if leaf.shape == shape:
                return leaf
    return None


_INPUT = r"(?s)Input tensor shape: (?:torch\.Size\()?(\[[\d, ]*\]).*Shape mismatch, "
REARRANGED: tuple[tuple[str, Explain], ...] = (
    (_INPUT + r"(\d+) != (\d+)", unequal),
    (_INPUT + r"can't divide axis of length (\d+) in chunks of (\d+)", undivided),
)
"""Patterns of the messages of einops, each with the function that explains it."""
