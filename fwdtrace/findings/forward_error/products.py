"""FT006 for products: linear layers, matrix products and einsum, whose inner sizes must be equal."""

from __future__ import annotations

import re
from math import isqrt, prod

from fwdtrace.findings.forward_error.failure import (
    OUTPUT_SIZES,
    Explain,
    Explanation,
    Failure,
    counted,
    set_argument,
    sizes,
)
from fwdtrace.trace import TensorMeta
from fwdtrace.trace.text import name_of, shape_text
from fwdtrace.trace.values import Shape

MATRIX_PRODUCTS = {"@", "@=", "matmul", "mm", "spmm", "bmm", "mv", "dot", "__matmul__", "__rmatmul__"}


def linear(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A linear layer, or `F.linear`, that was given another number of features than its weight has columns."""
    if failure.op:
        named = failure.op.name == "F.linear" and len(failure.tensors) > 1
        weight = failure.tensors[1] if named else None
    else:
        weight = failure.parameter("weight")
    if weight is None or len(weight.shape) != 2 or not failure.tensors:
        return None
    expected, shape = weight.shape[1], failure.tensors[0].shape
    left, right = sizes(match["left"]), sizes(match["product"])
    if right[-2:] != weight.shape[::-1] or left[-1:] != shape[-1:]:  # it was another product that failed
        return None
    layer = not failure.op and "in_features=" in (failure.call.settings or "")
    fix = set_argument(failure, "in_features", shape[-1]) if layer else f"use a weight of {weight.shape[0]}×{shape[-1]}"
    return features(failure, expected, shape, fix)


def features(failure: Failure, expected: int, shape: Shape, fix: str) -> Explanation:
    """A layer that needs `expected` features in the last dimension and got `shape`; `fix` is a change of the layer."""
    for start in (1, 0):
        if len(shape) - start > 1 and prod(shape[start:]) == expected:
            return Explanation(
                f"expects {expected} features in the last dimension, got {shape[-1]}; {counted(shape[start:])}",
                f"flatten its input first, as in torch.flatten(x, {start})",
            )
    flattened = failure.flattened(shape)
    got = counted(flattened) if flattened else str(shape[-1])
    return Explanation(f"expects {expected} features, got {got}", _fix(failure, expected, shape, flattened, fix))


def _fix(failure: Failure, expected: int, shape: Shape, flattened: Shape, fix: str) -> str:
    fixes = [fix]
    maker = failure.maker(shape, -1)
    if expected in shape[1:-1]:
        fixes.append(f"if dimension {shape.index(expected, 1)} holds the features, transpose it to the last")
    elif maker is not None and not flattened:
        fixes.append(f"{OUTPUT_SIZES[maker.class_name]}={expected} in {name_of(maker)}")
    elif flattened and flattened[0] > 0 and expected % flattened[0] == 0:
        square = _squared(expected // flattened[0], len(flattened) - 1)
        such_as = f" = {shape_text((flattened[0], *square))}" if square else ""
        fixes.append(f"let what comes before give {expected}{such_as}")
    return ", or ".join(fixes)


def _squared(size: int, dimensions: int) -> Shape:
    """The height and width of a square image with this number of pixels; empty if there is none."""
    if dimensions == 2 and isqrt(size) ** 2 == size:
        return (isqrt(size),) * 2
    return (size,) if dimensions == 1 else ()


def product(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """`@`, `torch.matmul` and their kind: inner sizes, batch sizes or numbers of dimensions do not fit."""
    if not failure.op or failure.op.name.rpartition(".")[2] not in MATRIX_PRODUCTS or len(failure.tensors) < 2:
        return None
    left, right = (leaf.shape for leaf in failure.tensors[:2])
    wanted = {"mm": 2, "spmm": 2, "bmm": 3}.get(failure.op.name.rpartition(".")[2])
    if wanted and {len(left), len(right)} != {wanted}:
        return Explanation(
            f"takes tensors of {wanted} dimensions, got {shape_text(left)} and {shape_text(right)}",
            "torch.matmul takes any number of leading dimensions",
        )
    if not left or not right:
        return None
    inner = right[-2] if len(right) > 1 else right[0]
    if left[-1] != inner:
        says = f"cannot multiply {shape_text(left)} by {shape_text(right)}: the inner sizes are {left[-1]} and {inner}"
        return Explanation(says, _transposed(left, right))
    if len(left) > 2 and len(right) > 2:
        says = f"cannot multiply {shape_text(left)} by {shape_text(right)}: the leading sizes do not fit each other"
        return Explanation(
            says, f"make {shape_text(left[:-2])} and {shape_text(right[:-2])} equal, or 1 where they differ"
        )
    return None


def _transposed(left: Shape, right: Shape) -> str:
    if len(right) > 1 and left[-1] == right[-1]:
        return f"transposing the right one fits: .mT makes it {shape_text((*right[:-2], right[-1], right[-2]))}"
    if len(left) > 1 and len(right) > 1 and left[-2] == right[-2]:
        return f"transposing the left one fits: .mT makes it {shape_text((*left[:-2], left[-1], left[-2]))}"
    return ""


def own_parameter(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """A module without submodules that multiplies by a parameter of its own; the op itself was not recorded."""
    if failure.op:
        return None
    left, right = sizes(match["left"]), sizes(match["product"])
    if len(left) < 2 or len(right) < 2:
        return None
    alike = [leaf for leaf in failure.state if leaf.shape in (right, right[::-1])]
    by = f", the shape of {_called(alike[0], right)}" if len(alike) == 1 else ""
    return Explanation(
        f"cannot multiply {shape_text(left)} by {shape_text(right)}{by}: the inner sizes are {left[-1]} and {right[-2]}"
    )


def _called(parameter: TensorMeta, used: Shape) -> str:
    return parameter.name if parameter.shape == used else f"{parameter.name} transposed"


def einsum_size(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An index of einsum that has two sizes."""
    index, got, operand, expected = match.groups()
    shapes = [shape_text(leaf.shape) for leaf in failure.tensors]
    where = f" (operand {int(operand) + 1}, {shapes[int(operand)]})" if int(operand) < len(shapes) else ""
    return Explanation(f"gives the index {index} two sizes, {expected} and {got}{where}{_equation(failure)}")


def einsum_dimensions(failure: Failure, match: re.Match[str]) -> Explanation | None:
    """An operand of einsum with another number of dimensions than the equation gives it."""
    expected, got, operand = match.groups()
    return Explanation(f"expects {expected} dimensions for operand {int(operand) + 1}, got {got}{_equation(failure)}")


def _equation(failure: Failure) -> str:
    equation = failure.value("equation", 0)
    return f", in {equation}" if equation else ""


_SIZE = r"\[?[\d, x]+\]?"
PRODUCTS: tuple[tuple[str, Explain], ...] = (
    *(
        (pattern, explain)
        for explain in (linear, product, own_parameter)
        for pattern in (
            r"shapes cannot be multiplied \((?P<left>\d+x\d+) and (?P<product>\d+x\d+)\)",
            rf"same reduction dim, but got (?P<left>{_SIZE}) X (?P<product>{_SIZE})",
        )
    ),
    (
        r"size mismatch|must match the size|batch2 tensor to be|must be a matrix|must be a 3D tensor",
        product,
    ),
    (
        r"subscript (\w) has size (\d+) for operand (\d+) which does not broadcast with previously seen size (\d+)",
        einsum_size,
    ),
    (
        r"subscripts in the equation \((\d+)\) does not match the number of dimensions \((\d+)\) for operand (\d+)",
        einsum_dimensions,
    ),
)
"""Patterns of the messages of torch, each with the function that explains it."""
