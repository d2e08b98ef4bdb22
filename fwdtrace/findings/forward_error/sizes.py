"""FT006 for sizes that must be equal or add up: joining, reshaping and broadcasting."""

from __future__ import annotations

import re
from math import prod

from fwdtrace.findings.forward_error.failure import Explain, Explanation, Failure, counted, sizes
from fwdtrace.trace import Call
from fwdtrace.trace.text import name_of, shape_text
from fwdtrace.trace.values import Shape


def joined(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`torch.cat` of tensors that differ elsewhere than in the dimension they are joined along."""
    shapes = [leaf.shape for leaf in failure.tensors]
    along, first = int(match[1]), next((shape for shape in shapes if shape != (0,)), ())
    for shape in shapes:
        differing = [at for at, (a, b) in enumerate(zip(first, shape, strict=False)) if at != along and a != b]
        if len(shape) != len(first) or not differing:
            continue
        at = differing[0]
        differ = f"got {first[at]} and {shape[at]} in dimension {at}"
        return Explanation(
            f"joins along dimension {along} and needs the others equal, {differ}",
            _join_elsewhere(shapes) or f"make dimension {at} equal first",
        )
    return None


def _join_elsewhere(shapes: list[Shape]) -> str:
    """The one dimension along which these shapes could be joined."""
    if len({len(shape) for shape in shapes}) != 1:
        return ""
    differing = [at for at, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1]
    return f"along dim={differing[0]} they would fit" if len(differing) == 1 else ""


def joined_dimensions(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`torch.cat` of tensors with different numbers of dimensions."""
    ranks = " and ".join(dict.fromkeys(str(len(leaf.shape)) for leaf in failure.tensors))
    return Explanation(
        f"needs tensors with the same number of dimensions, got {ranks}", "unsqueeze or flatten one of them first"
    )


def stacked(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`torch.stack` of tensors whose shapes differ."""
    fits = _join_elsewhere([leaf.shape for leaf in failure.tensors])
    return Explanation(
        f"needs tensors of one shape, got {shape_text(sizes(match[1]))} and {shape_text(sizes(match[2]))}",
        f"torch.cat joins tensors that differ in one dimension: {fits}" if fits else "make the shapes equal first",
    )


def reshaped(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A view or reshape to a shape that the elements do not fill."""
    target, count = sizes(match[1]), int(match[2])
    source = next((leaf for leaf in failure.tensors if prod(leaf.shape) == count), None)
    shown = counted(source.shape) if source else str(count)
    what = f" of {source.name}" if source and not failure.op else ""
    known = prod(size for size in target if size != -1)
    if -1 in target:
        says = f"cannot give {shown} elements{what} the shape {_target(target)}: {count} is no multiple of {known}"
    else:
        says = f"cannot give {shown} elements{what} the shape {_target(target)}: that is {counted(target)}"
    return Explanation(says, _reshape(source.shape, target) if source and failure.op else "")


def _reshape(source: Shape, target: Shape) -> str:
    """The shape that keeps the batch and flattens the rest, if that is what the target does."""
    if len(source) < 2 or len(target) != 2 or target[0] not in (-1, source[0]):
        return ""
    fits = f"{prod(source[1:])} = {shape_text(source[1:])} in place of {target[1]} fits"
    return f"{fits}; torch.flatten(x, 1) needs no number"


def _target(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def not_viewable(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A view of a tensor whose elements are in another order in memory, as after a transpose."""
    return Explanation(
        "cannot view the tensor so: its elements do not lie in this order in memory",
        "use .reshape(…), or .contiguous() before .view(…)",
    )


def unflattened(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An unflatten to sizes that do not multiply up to the dimension."""
    return Explanation(f"cannot split dimension {match[2]} of {match[3]} into {counted(sizes(match[1]))}")


def broadcast(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """Two operands with sizes in one dimension that differ and are not 1.

    The arguments of a call may differ and yet be right, so the sizes must be those in torch's message.
    """
    shapes = [leaf.shape for leaf in failure.tensors]
    for at, left in enumerate(shapes):
        for right in shapes[at + 1 :]:
            dimension = _clash(left, right)
            if dimension is not None and {left[dimension], right[dimension]} == set(sizes(match[0])):
                says = f"cannot broadcast {shape_text(left)} with {shape_text(right)}"
                clash = f"{left[dimension]} and {right[dimension]} in {_place(dimension)}"
                return Explanation(f"{says}: {clash}", _broadcast_fix(failure, left, right))
    return None


def _clash(left: Shape, right: Shape) -> int | None:
    """The last dimension, counted from the end, in which two shapes do not broadcast; None if they do."""
    for at in range(-1, -min(len(left), len(right)) - 1, -1):
        if left[at] != right[at] and 1 not in (left[at], right[at]):
            return at
    return None


def _place(dimension: int) -> str:
    return {-1: "the last dimension", -2: "the last but one"}.get(dimension, f"dimension {dimension}")


def _broadcast_fix(failure: Failure, left: Shape, right: Shape) -> str:
    long, short = (left, right) if len(left) >= len(right) else (right, left)
    if len(short) < len(long) and long[: len(short)] == short:
        missing = len(long) - len(short)
        return (
            f"{shape_text(short)} fits as {shape_text((*short, *(1,) * missing))}: index it [...{', None' * missing}]"
        )
    if len(left) == len(right) == 2 and left == right[::-1]:
        return "transposing one of them fits: .mT"
    givers = [(shape, _giver(failure, shape)) for shape in (left, right)]
    texts = [f"{shape_text(shape)} was last given by {name}" for shape, name in givers if name]
    return "; ".join(dict.fromkeys(texts))


def _giver(failure: Failure, shape: Shape) -> str:
    """The call or op that last gave a tensor of this shape."""
    event = next(failure.givers(shape), None)
    if event is None:
        return ""
    return f"{name_of(event)} ({event.class_name})" if isinstance(event, Call) else event.name


def in_place(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An in-place operation whose result is larger than the tensor that has to hold it."""
    held, result = shape_text(sizes(match[1])), shape_text(sizes(match[2]))
    return Explanation(f"writes a result of {result} into a tensor of {held}", "use the form that is not in place")


def expanded(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An expand, or a mask, in a dimension that is not 1."""
    target, source = sizes(match[4]), sizes(match[5])
    says = f"cannot expand {shape_text(source)} to {shape_text(target)}"
    return Explanation(f"{says}: dimension {match[3]} has {match[2]}, not 1 or {match[1]}")


_SIZES = r"([\[(][-\d, ]*[\])])"
SIZES: tuple[tuple[str, Explain], ...] = (
    (r"Sizes of tensors must match except in dimension (\d+)", joined),
    (r"Tensors must have same number of dimensions", joined_dimensions),
    (rf"stack expects each tensor to be equal size, but got {_SIZES} at entry \d+ and {_SIZES}", stacked),
    (rf"shape '{_SIZES}' is invalid for input of size (\d+)", reshaped),
    (r"view size is not compatible with input tensor's size and stride", not_viewable),
    (rf"Provided sizes {_SIZES} don't multiply up to the size of dim (\d+) \((\d+)\)", unflattened),
    (rf"output with shape {_SIZES} doesn't match the broadcast shape {_SIZES}", in_place),
    (
        (
            r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\) at non-singleton"
            rf" dimension (\d+)\. +Target sizes: {_SIZES}\. +Tensor sizes: {_SIZES}"
        ),
        expanded,
    ),
    (r"tensor a \(\d+\) must match the size of tensor b \(\d+\)", broadcast),
)
"""Patterns of the messages of torch, each with the function that explains it."""
